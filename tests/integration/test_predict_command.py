"""`nearsight predict`, `nearsight export` and the calculator of ASE, with a small random network."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io.cube import read_cube_data
from ase.io.xsf import read_xsf
from model_files import make_random_model

import nearsight
from nearsight.cli import main, name_folder
from nearsight.datasets import open_dataset, settings_of
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.energies.screening import thomas_fermi_wave_vector
from nearsight.errors import InputError
from nearsight.files import read_json
from nearsight.grids.energies import find_energy_zero
from nearsight.grids.tiles import THREAD_POINTS
from nearsight.inference import gather
from nearsight.ldos import EnergyGrid, density_from_ldos, fermi_weights, integrate_dos
from nearsight.memory import inference_bytes
from nearsight.model.bundle import load_bundle, save_bundle
from nearsight.model.last_layer import ErrorBars

DESCRIPTORS = {"kind": "bispectrum", "twojmax": 4, "cutoff_A": 4.0}
SHAPE = (12, 12, 18)
ACCEPT = "--accept-extrapolation"


@pytest.fixture(scope="module")
def atoms():
    atoms = bulk("Be", a=2.27, c=3.57)
    atoms.positions += [[0.05, -0.08, 0.1], [0.0, 0.03, -0.06]]
    return atoms


@pytest.fixture(scope="module")
def model(atoms, tmp_path_factory):
    """Folder of a random network whose LDOS is 0.03/(eV Å³) on the average."""
    rows = bispectrum(atoms, SHAPE, **DESCRIPTORS)
    bundle = make_random_model(rows, DESCRIPTORS, energy_max_eV=12.0, ldos_scaling=(0.02, 0.005))
    folder = tmp_path_factory.mktemp("a $(model)")
    save_bundle(bundle, folder / "model.json", folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def structure(atoms, tmp_path_factory):
    path = tmp_path_factory.mktemp("s") / "be; 2.extxyz"
    ase.io.write(path, atoms)
    return path


def run(model, structure, folder, *options):
    grid = map(str, SHAPE)
    return main(
        [
            "predict",
            str(model),
            str(structure),
            "--out",
            str(folder),
            ACCEPT,
            "--grid",
            *grid,
            *options,
        ]
    )


@pytest.fixture(scope="module")
def predicted(model, structure, tmp_path_factory):
    """A finished prediction with the LDOS of the whole grid."""
    folder = tmp_path_factory.mktemp("p") / "out"
    assert run(model, structure, folder, "--ldos", "all") == 0
    return folder


def test_everything_is_written(predicted):
    assert {path.name for path in predicted.iterdir()} == {
        *("prediction.h5", "dos.csv", "observables.json", "energies.json", "ldos.h5", "plan.json", "structure.extxyz"),
        *("Be.upf", "request.json"),
    }
    energies = read_json(predicted / "energies.json")
    terms = energies["energies_eV"]
    assert set(terms) == {"band", "hartree", "xc", "xc_potential", "ion", "entropy", "broadening", "total"}
    total = terms["band"] - terms["hartree"] + terms["xc"] - terms["xc_potential"] + terms["ion"] + terms["entropy"]
    assert terms["broadening"] == 0.0
    assert terms["total"] == pytest.approx(total, abs=1e-9)
    assert energies["provenance"]["inputs_sha256"]


def test_without_a_folder_it_is_named_after_the_structure(model, structure, tmp_path, monkeypatch, capsys):
    """`nearsight predict MODEL STRUCTURE`, and no more."""
    monkeypatch.chdir(tmp_path)
    for name in (structure, f"{structure}@0"):
        assert main(["predict", str(model), str(name), ACCEPT, "--grid", *map(str, SHAPE)]) == 0
    assert "written: be; 2@0-prediction/prediction.h5" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["be; 2-prediction", "be; 2@0-prediction"]
    assert name_folder(Path("a/.cif"), None) == Path("cif-prediction")
    assert name_folder(Path("..."), -1) == Path("structure@-1-prediction")


def test_ldos_gives_the_density(predicted):
    """The stored LDOS and the density, which was computed without it, are of one Fermi level."""
    with open_dataset(predicted / "ldos.h5") as ldos, open_dataset(predicted / "prediction.h5") as prediction:
        grid = EnergyGrid.from_energies(ldos["energy"].values)
        weights = fermi_weights(grid, float(prediction["fermi_energy"]), 1000.0, 0.4)
        np.testing.assert_allclose(
            density_from_ldos(ldos["ldos"].values, weights), prediction["density"].values, rtol=1e-5
        )


def test_energies_without_a_correction(model, structure, tmp_path):
    """Of an imported model whose broadening nobody knows."""
    bundle = replace(load_bundle(model / "model.json", model / "model.safetensors"), broadening_eV=None)
    save_bundle(bundle, tmp_path / "model.json", tmp_path / "model.safetensors")
    assert run(tmp_path, structure, tmp_path / "out") == 0
    with open_dataset(tmp_path / "out/prediction.h5") as prediction:
        found = integrate_dos(prediction["dos"].values, bundle.energy_grid, 4.0, 1000.0, None)
        assert float(prediction["fermi_energy"]) == pytest.approx(found.fermi_energy_eV, abs=1e-9)
        assert float(prediction["band_energy"]) == pytest.approx(found.band_energy_eV, abs=1e-8)
    terms = read_json(tmp_path / "out/energies.json")["energies_eV"]
    assert terms["band"] == pytest.approx(found.band_energy_eV, abs=1e-8)


def test_ldos_of_a_region(model, structure, predicted, tmp_path):
    assert run(model, structure, tmp_path, "--ldos", "2:5,0:12,7:8") == 0
    with open_dataset(tmp_path / "ldos.h5") as part, open_dataset(predicted / "ldos.h5") as whole:
        np.testing.assert_array_equal(part["ldos"].values, whole["ldos"].values[2:5, :, 7:8])
        assert settings_of(part)["region"] == [[2, 5], [0, 12], [7, 8]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ldos", "1:2"], "argument --ldos: expected grid points as in"),
        (["--ldos", "a:b,0:1,0:1"], "argument --ldos: expected grid points as in"),
        (["--ldos", "3:3,0:3,0:3"], "argument --ldos: expected grid points as in"),
        (["--ldos", "3:2,0:3,0:3"], "argument --ldos: expected grid points as in"),
        (["--ldos", "0:1,0:1,0:99"], "expected"),
        (["--threads", "0"], "argument --threads: expected a whole number from 1 to 1024, got '0'"),
        (["--memory-GiB", "nan"], "argument --memory-GiB: expected a number from 0.01 to 4096 GiB, got 'nan'"),
        (["--memory-GiB", "inf"], "argument --memory-GiB: expected"),
        (["--temperature-K", "-300"], "argument --temperature-K: expected a number from 1 to 1e+06 K"),
        (["--temperature-K", "20000"], "expected a Fermi function that ends in the model's energy window"),
        (["--grid", "-3", "20", "20"], "argument --grid: expected a whole number from 1 to 100000, got '-3'"),
        (["--grid", "0", "0", "0"], "argument --grid: expected a whole number from 1 to 100000, got '0'"),
        (["--grid", "5", "5", "5"], "expected a grid of about"),
        (["--ecut-sample-Ry", "0"], "argument --ecut-sample-Ry: expected a number from 1 to 8000 Ry, got '0'"),
        (["--ecut-sample-Ry", "61"], "expected at most the density's cutoff of 60 Ry"),
        (["--grid", "20000", "20000", "20000"], "gather_prediction: expected to need about 29.2"),
        (["--grid", "500", "500", "500"], "GB"),
    ],
)
def test_refused_before_any_work(model, structure, tmp_path, capsys, monkeypatch, options, message):
    """Neither a pre-pass nor a file for what cannot be computed."""
    from nearsight.inference import run as prediction

    if options[:2] == ["--grid", "500"]:  # 125 million points: 5 GB on disk, and 7 of fields that 4 GiB do not hold
        monkeypatch.setattr(prediction, "DISK_BYTES_PER_POINT", 10**9)
        message = "expected 125000007.00 GB of free disk"
    if options[0] != "--temperature-K":
        monkeypatch.setattr(prediction, "make_plan", lambda *_, **__: pytest.fail("it began"))
    try:
        status = run(model, structure, tmp_path / "out", *options)
    except SystemExit as stopped:
        status = stopped.code
    assert status in (1, 2)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_costs_are_said_first(model, structure, predicted, tmp_path, caplog):
    with caplog.at_level("INFO"):
        assert run(model, structure, tmp_path / "out") == 0
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "grid: 12 x 12 x 18, 2.59e+03 points; 2 atoms"
    for start in ("memory: about", "disk: about 0.00 GB at most", "time: about"):
        assert any(line.startswith(start) for line in lines), lines


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_folder_of_other_files_is_never_touched(model, structure, tmp_path, capsys):
    """The user's own structure, with momenta, in the folder that is named for the results."""
    atoms = ase.io.read(structure)
    atoms.set_velocities(np.ones((2, 3)))
    ase.io.write(tmp_path / "structure.extxyz", atoms)
    before = files_of(tmp_path)
    for options in ([], ["--overwrite"], ["--temperature-K", "20000"]):
        assert run(model, tmp_path / "structure.extxyz", tmp_path, *options) == 1
        assert "expected a folder of its own for the results" in capsys.readouterr().err
        assert run(model, structure, tmp_path, *options) == 1
        assert "expected a new or empty folder" in capsys.readouterr().err
        assert files_of(tmp_path) == before
    assert run(model, structure, tmp_path / "structure.extxyz") == 1
    assert "expected a folder for the results, got a file" in capsys.readouterr().err
    assert run(model, structure, model) == 1
    assert "expected a folder of its own" in capsys.readouterr().err


def test_a_folder_of_another_prediction(model, atoms, structure, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(model, structure, out, "--ldos", "0:1,0:1,0:1") == 0
    assert (out / "ldos.h5").exists()
    first = files_of(out)
    # the same again, at another temperature: nothing of the first stays
    assert run(model, structure, out, "--temperature-K", "1500") == 0
    assert not (out / "ldos.h5").exists()
    assert set(files_of(out)) == set(first) - {"ldos.h5"}
    other = atoms.copy()
    other.positions[0] += 0.01
    ase.io.write(tmp_path / "other.extxyz", other)
    before = files_of(out)
    assert run(model, tmp_path / "other.extxyz", out) == 1
    assert "got the prediction of another structure. Name another one with --out, or give --over" in (
        capsys.readouterr().err
    )
    assert files_of(out) == before
    (out / "notes.txt").write_text("mine")
    assert run(model, tmp_path / "other.extxyz", out, "--overwrite") == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert ase.io.read(out / "structure.extxyz").positions == pytest.approx(other.positions, abs=1e-7)
    # a result as input
    assert run(model, out / "structure.extxyz", out) == 1
    assert "expected a folder of its own" in capsys.readouterr().err


def test_left_handed_vectors_change_nothing(model, atoms, structure, predicted, tmp_path):
    left = atoms.copy()
    left.set_cell(-left.cell.array)
    ase.io.write(tmp_path / "left.extxyz", left)
    assert run(model, tmp_path / "left.extxyz", tmp_path / "out") == 0
    ours, theirs = (
        read_json(folder / "energies.json")["energies_eV"]["total"] for folder in (predicted, tmp_path / "out")
    )
    assert theirs == pytest.approx(ours, abs=1e-6)


@pytest.mark.mpi
def test_two_ranks_and_two_threads(model, structure, predicted, tmp_path):
    command = [Path(sys.executable).with_name("mpiexec"), "-n", "2", Path(sys.executable).with_name("nearsight")]
    options = [
        model,
        structure,
        "--out",
        tmp_path,
        ACCEPT,
        "--threads",
        "2",
        "--grid",
        *map(str, SHAPE),
    ]
    done = subprocess.run([*command, "predict", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("total free energy") == 1
    ours, theirs = (read_json(folder / "energies.json")["energies_eV"] for folder in (predicted, tmp_path))
    assert theirs == pytest.approx(ours, abs=1e-6)


@pytest.fixture(scope="module")
def large(atoms, model, tmp_path_factory):
    """Structure of 128 atoms and options that cut its grid into tiles, and its energies, computed undisturbed."""
    folder = tmp_path_factory.mktemp("large")
    ase.io.write(folder / "be128.extxyz", atoms.repeat((4, 4, 4)))
    grid = [str(4 * n) for n in SHAPE]
    # four tiles and more
    memory = inference_bytes(THREAD_POINTS + 1000, 14, 91, 128, THREAD_POINTS, threads=1, keep_ldos=False) / 2**30
    words = [
        "predict",
        model,
        folder / "be128.extxyz",
        ACCEPT,
        "--grid",
        *grid,
        "--memory-GiB",
        str(memory),
    ]
    command = [Path(sys.executable).with_name("nearsight"), *words]
    done = subprocess.run([*command, "--out", folder / "whole"], check=True, capture_output=True, text=True)
    assert "energies: the fields are on disk" in done.stderr
    return command, read_json(folder / "whole/energies.json")["energies_eV"]


def test_fields_on_disk_and_in_memory_give_the_same_energies(large, tmp_path):
    """The memory of `large` holds its tiles and not its fields.

    Other tiles sum the DOS in another order: what follows from it is the same to rounding, all else to the last bit.
    """
    command, expected = large
    done = subprocess.run(
        [*command, "--out", tmp_path / "out", "--memory-GiB", "4"], capture_output=True, text=True, check=True
    )
    assert "fields are on disk" not in done.stderr
    found = read_json(tmp_path / "out/energies.json")["energies_eV"]
    of_density = ("hartree", "xc", "xc_potential", "ion")
    assert {key: found[key] for key in of_density} == {key: expected[key] for key in of_density}
    assert found == pytest.approx(expected, rel=1e-11)


def test_killed_prediction_goes_on(large, tmp_path):
    command, expected = large
    folder = tmp_path / "out"
    process = subprocess.Popen([*command, "--out", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tiles = folder / ".batch-0.tiles"
    while len(list(tiles.glob("tile-*"))) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "batch-0.h5").exists()
    assert not (folder / "prediction.h5").exists()
    done = subprocess.run([*command, "--out", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"[1-9]\d* of \d+ tiles are there from an earlier run", done.stderr)
    assert read_json(folder / "energies.json")["energies_eV"] == expected
    assert not tiles.exists()


def test_prediction_on_a_disk_that_fills_up(large, small_disk):
    command, expected = large
    disk = small_disk(16 << 20)
    folder = disk / "out"
    process = subprocess.Popen([*command, "--out", folder], stderr=subprocess.PIPE, text=True)
    while not list(folder.glob(".batch-0.tiles/tile-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(OSError, match="No space left"), open(disk / "other", "wb", buffering=0) as handle:
        while True:
            handle.write(bytes(1 << 12))
    process.send_signal(signal.SIGCONT)
    message = process.communicate(timeout=600)[1]
    assert process.returncode == 1
    assert "No space left on device" in message
    assert "Free space on that disk" in message
    assert "Traceback" not in message
    assert not [path for path in folder.iterdir() if path.suffix == ".h5"]
    (disk / "other").unlink()
    done = subprocess.run([*command, "--out", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tiles are there from an earlier run" in done.stderr
    assert read_json(folder / "energies.json")["energies_eV"] == expected


def test_prediction_on_a_disk_that_is_too_small(large, small_disk):
    command, _ = large
    folder = small_disk(3 << 20) / "out"
    done = subprocess.run([*command, "--out", folder], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(r"out: expected 0\.02 GB of free disk for this grid, got 0\.00 GB", done.stderr)
    assert "Traceback" not in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_prediction_says_so(number, large, tmp_path):
    command, _ = large
    folder = tmp_path / "out"
    process = subprocess.Popen(
        [*command, "--out", folder],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(folder.glob(".batch-0.tiles/tile-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    process.send_signal(number)
    message = process.communicate(timeout=600)[1]
    assert process.returncode == -number, message
    assert message.endswith("interrupted; what is finished is kept\n")
    assert "Traceback" not in message


def test_other_backend(model, structure, predicted, tmp_path):
    assert run(model, structure, tmp_path, "--backend", "lammps") == 0
    ours, theirs = (read_json(folder / "energies.json")["energies_eV"]["total"] for folder in (predicted, tmp_path))
    assert theirs == pytest.approx(ours, abs=2e-6)


def test_another_temperature_of_the_electrons(model, structure, predicted, tmp_path):
    assert run(model, structure, tmp_path, "--temperature-K", "2000") == 0
    cold, hot = (read_json(folder / "energies.json")["energies_eV"]["entropy"] for folder in (predicted, tmp_path))
    assert hot < 3 * cold < 0


def test_first_level_that_is_too_far_is_replaced(model, structure, predicted, tmp_path, monkeypatch):
    """A pre-pass that is 0.3 eV off costs a second pass, and changes nothing."""
    from nearsight.inference import plan

    original = plan.find_fermi_level
    monkeypatch.setattr(plan, "find_fermi_level", lambda *args, **kwargs: original(*args, **kwargs) + 0.3)
    levels = []
    solve = gather.solve_level
    monkeypatch.setattr(gather, "solve_level", lambda *args: levels.append(args[-1]) or solve(*args))
    assert run(model, structure, tmp_path) == 0
    assert len(levels) == 2
    ours, theirs = (read_json(folder / "energies.json")["energies_eV"] for folder in (predicted, tmp_path))
    assert theirs == pytest.approx(ours, abs=1e-6)


def test_extrapolated_structure_is_refused(model, atoms, tmp_path, capsys):
    path = tmp_path / "large.extxyz"
    ase.io.write(path, bulk("Be", a=2.27 * 1.6, c=3.57 * 1.6))
    assert main(["predict", str(model), str(path), "--out", str(tmp_path / "out")]) == 1
    assert "expected one like the model's training set" in capsys.readouterr().err
    assert not (tmp_path / "out" / "plan.json").exists()


def test_missing_model(structure, tmp_path, capsys):
    assert main(["predict", str(tmp_path), str(structure), "--out", str(tmp_path / "out")]) == 1
    assert "model.json" in capsys.readouterr().err


def test_calculator(model, atoms, predicted):
    calculated = atoms.copy()
    calculated.calc = nearsight.Calculator(model, accept_extrapolation=True, shape=SHAPE)
    terms = json.loads((predicted / "energies.json").read_text())["energies_eV"]
    assert calculated.get_potential_energy() == pytest.approx(terms["total"], abs=1e-6)
    assert calculated.get_potential_energy(force_consistent=True) == calculated.get_potential_energy()
    assert calculated.calc.terms.entropy == pytest.approx(terms["entropy"], abs=1e-7)
    with pytest.raises(PropertyNotImplementedError):
        calculated.get_forces()
    with pytest.raises(PropertyNotImplementedError):
        calculated.get_stress()
    # the energy of a moved atom is another one, computed anew
    calculated.positions[0, 2] += 0.05
    assert abs(calculated.get_potential_energy() - terms["total"]) > 1e-4


def test_energies_count_from_the_zero_of_the_cell(model, atoms, structure, predicted, tmp_path):
    """A model whose energies count from z N/Ω, lowered by as much, is the same in this cell."""
    bundle = load_bundle(model / "model.json", model / "model.safetensors")
    zeros = {"Be": 85.0}
    grid = bundle.energy_grid.shifted(-find_energy_zero(atoms, zeros))
    folder = tmp_path / "model"
    folder.mkdir()
    shifted = replace(bundle, energy_grid=grid, energy_zero_eV_A3=zeros)
    save_bundle(shifted, folder / "model.json", folder / "model.safetensors")
    assert load_bundle(folder / "model.json", folder / "model.safetensors").energy_zero_eV_A3 == zeros
    assert run(folder, structure, tmp_path / "out", "--ldos", "0:2,0:12,0:18") == 0
    for name in ("observables", "energies"):
        ours, theirs = (read_json(where / f"{name}.json") for where in (tmp_path / "out", predicted))
        if name == "energies":
            ours, theirs = ours["energies_eV"], theirs["energies_eV"]
        for key in {"fermi_energy_eV", "band_energy_eV", "band", "total"} & set(ours):
            assert ours[key] == pytest.approx(theirs[key], abs=1e-6)
    with open_dataset(tmp_path / "out" / "ldos.h5") as ours, open_dataset(predicted / "ldos.h5") as theirs:
        assert np.allclose(ours["energy"].values, theirs["energy"].values, atol=1e-9)


def test_the_error_bar_is_said(model, structure, tmp_path, capsys):
    bundle = load_bundle(model / "model.json", model / "model.safetensors")
    bars = ErrorBars(np.eye(bundle.network.head.in_features + 1), 1e-4, 1e-4)
    folder = tmp_path / "model"
    folder.mkdir()
    save_bundle(replace(bundle, error_bars=bars), folder / "model.json", folder / "model.safetensors")
    assert run(folder, structure, tmp_path / "out") == 0
    said = float(re.search(r"total free energy -?[\d.]+ ± ([\d.]+) eV/atom", capsys.readouterr().out)[1])
    stated = read_json(tmp_path / "out" / "energies.json")["energy_deviation_eV_per_atom"]
    assert said == pytest.approx(stated, abs=6e-5) != 0


def test_screening_of_a_long_cell(model, atoms, tmp_path):
    """It acts on the density and its energies; off by the option as by the calculator's parameter."""
    long = atoms.repeat((1, 1, 4))
    long.positions[:, 2] += 0.1 * np.sin(2 * np.pi * long.get_scaled_positions()[:, 2])
    long.info["grid_shape"] = [12, 12, 72]
    ase.io.write(tmp_path / "long.extxyz", long)
    energies = {}
    for name, options in (("on", []), ("off", ["--no-screening"])):
        assert (
            main(["predict", *map(str, (model, tmp_path / "long.extxyz", "--out", tmp_path / name)), ACCEPT, *options])
            == 0
        )
        energies[name] = read_json(tmp_path / name / "energies.json")
        calculated = long.copy()
        calculated.calc = nearsight.Calculator(model, accept_extrapolation=True, screening=name == "on")
        assert calculated.get_potential_energy() == pytest.approx(energies[name]["energies_eV"]["total"], abs=1e-6)
    on, off = energies["on"], energies["off"]
    assert on["screening"]["wave_vector_A"] == pytest.approx(thomas_fermi_wave_vector(16 / long.get_volume()), rel=1e-9)
    assert "screening" not in off
    assert on["unscreened_eV_per_atom"] == pytest.approx(on["screening"]["unscreened_eV_per_atom_after"], rel=1e-6)
    assert off["unscreened_eV_per_atom"] == pytest.approx(on["screening"]["unscreened_eV_per_atom_before"], rel=1e-6)
    assert on["unscreened_eV_per_atom"] < 0.1 * off["unscreened_eV_per_atom"]
    assert on["energies_eV"]["band"] == pytest.approx(off["energies_eV"]["band"], abs=1e-9)
    assert abs(on["energies_eV"]["hartree"] - off["energies_eV"]["hartree"]) > 1e-3


def test_sampling(model, atoms, structure, predicted, tmp_path, caplog):
    """With --grid all its points, unless a cutoff is given too; LDOS at the points of the density's grid."""
    caplog.set_level("INFO")
    assert read_json(predicted / "plan.json")["shape"] == list(SHAPE)
    assert run(model, structure, tmp_path / "a", "--ecut-sample-Ry", "30", "--ldos", "2:5,0:12,7:8") == 0
    assert "grid that is predicted: 8 x 8 x 12, 768 points" in caplog.text
    found, whole = (read_json(folder / "energies.json") for folder in (tmp_path / "a", predicted))
    assert found["sampling"]["grid_shape"] == [8, 8, 12]
    assert found["grid_shape"] == list(SHAPE)
    assert found["energies_eV"]["total"] == pytest.approx(whole["energies_eV"]["total"], abs=0.02)
    with open_dataset(tmp_path / "a" / "ldos.h5") as part, open_dataset(predicted / "ldos.h5") as all_of_it:
        np.testing.assert_array_equal(part["ldos"].values, all_of_it["ldos"].values[2:5, :, 7:8])
    error = np.abs(density_of(tmp_path / "a") - density_of(predicted)) / density_of(predicted)
    assert 0 < error.mean() < 2 * found["sampling"]["aliasing"]
    calculated = atoms.copy()
    calculated.calc = nearsight.Calculator(model, accept_extrapolation=True, shape=SHAPE, ecut_sample_Ry=30)
    assert calculated.get_potential_energy() == pytest.approx(found["energies_eV"]["total"], abs=1e-6)
    # the model's own cutoff switches it off
    assert run(model, structure, tmp_path / "b", "--ecut-sample-Ry", "60") == 0
    np.testing.assert_array_equal(density_of(tmp_path / "b"), density_of(predicted))


def test_calculator_computes_anew(model, atoms):
    calculated = atoms.copy()
    calc = calculated.calc = nearsight.Calculator(model, accept_extrapolation=True, shape=SHAPE)
    energies = [calculated.get_potential_energy()]

    def changed():
        energies.append(calculated.get_potential_energy())
        assert energies[-1] not in energies[:-1]

    calc.set(temperature_K=2000.0)
    changed()
    calc.temperature_K = 1500.0
    changed()
    calc.shape = (14, 14, 20)
    changed()
    calc.set(shape=None)
    calculated.info["grid_shape"] = [15, 15, 24]
    changed()
    calculated.info["grid_shape"] = np.array([16, 16, 24])
    changed()
    assert calc.set(temperature_K=1500.0) == {}
    # nothing changed: nothing is computed
    calc.calculate = None
    assert calculated.get_potential_energy() == energies[-1]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"shape": (15, 15)}, r"shape: expected three numbers of grid points, got \[15, 15\]"),
        ({"shape": (15, 15, 0)}, "shape: expected a whole number from 1 to 100000, got 0"),
        ({"shape": (15, 15, 1.5)}, "shape: expected a whole number"),
        ({"threads": 0}, "threads: expected a whole number from 1 to 1024, got 0"),
        ({"threads": True}, "threads: expected a whole number"),
        ({"temperature_K": float("nan")}, "temperature_K: expected a number from 1 to"),
        ({"temperature_K": "300"}, "temperature_K: expected a number"),
        ({"ecut_sample_Ry": "30"}, "ecut_sample_Ry: expected a number from 1 to 8000 Ry, got '30'"),
        ({"screening": "yes"}, "screening: expected True or False, got 'yes'"),
        ({"accept_extrapolation": 1}, "accept_extrapolation: expected True or False, got 1"),
        ({"accept_unfit": True}, "expected the parameters model, temperature_K.*got accept_unfit"),
    ],
)
def test_parameters_of_the_calculator(model, parameters, message):
    with pytest.raises(InputError, match=message):
        nearsight.Calculator(model, **parameters)
    calculator = nearsight.Calculator(model)
    with pytest.raises(InputError, match=message):
        calculator.set(**parameters)


def test_calculator_without_atoms_and_beyond_the_window(model, atoms):
    with pytest.raises(InputError, match="expected atoms to compute, got none"):
        nearsight.Calculator(model).calculate()
    hot = atoms.copy()
    hot.calc = nearsight.Calculator(model, accept_extrapolation=True, temperature_K=20000.0, shape=SHAPE)
    with pytest.raises(InputError, match="expected a Fermi function that ends in the model's energy window"):
        hot.get_potential_energy()


def density_of(predicted):
    with open_dataset(predicted / "prediction.h5") as dataset:
        return dataset["density"].values


def test_cube(predicted, atoms, tmp_path):
    assert main(["export", str(predicted / "prediction.h5"), str(tmp_path / "n.cube")]) == 0
    values, read = read_cube_data(str(tmp_path / "n.cube"))
    np.testing.assert_allclose(values, density_of(predicted) * 0.529177210903**3, rtol=1e-8)
    np.testing.assert_allclose(read.positions, atoms.positions, atol=1e-8)
    np.testing.assert_allclose(read.cell, atoms.cell, atol=1e-8)


def test_xsf(predicted, atoms, tmp_path):
    assert main(["export", str(predicted / "prediction.h5"), str(tmp_path / "n.xsf")]) == 0
    with open(tmp_path / "n.xsf") as file:
        values, _, _, read = read_xsf(file, read_data=True)
    density = density_of(predicted)
    np.testing.assert_allclose(values[:-1, :-1, :-1], density, rtol=1e-8)
    np.testing.assert_array_equal(values[-1, :-1, :-1], values[0, :-1, :-1])
    np.testing.assert_allclose(
        read[-1].positions if isinstance(read, list) else read.positions, atoms.positions, atol=1e-9
    )


def test_chgcar(predicted, atoms, tmp_path):
    assert main(["export", str(predicted / "prediction.h5"), str(tmp_path / "CHGCAR")]) == 0
    from ase.calculators.vasp import VaspChargeDensity

    charge = VaspChargeDensity(str(tmp_path / "CHGCAR"))
    np.testing.assert_allclose(charge.chg[0], density_of(predicted), rtol=1e-8)
    np.testing.assert_allclose(charge.atoms[0].get_scaled_positions(), atoms.get_scaled_positions(), atol=1e-8)


@pytest.mark.filterwarnings("ignore::UserWarning:pymatgen", "ignore::DeprecationWarning:pymatgen")
def test_pymatgen_reads_them_too(predicted, atoms, tmp_path):
    """Density, cell and places of CHGCAR and cube, and the structure of an XSF."""
    from pymatgen.io.common import VolumetricData
    from pymatgen.io.vasp.outputs import Chgcar
    from pymatgen.io.xcrysden import XSF

    for name in ("CHGCAR", "n.cube", "n.xsf"):
        assert main(["export", str(predicted / "prediction.h5"), str(tmp_path / name)]) == 0
    density, volume = density_of(predicted), atoms.get_volume()
    chgcar = Chgcar.from_file(str(tmp_path / "CHGCAR"))
    np.testing.assert_allclose(chgcar.data["total"] / volume, density, rtol=1e-8)
    cube = VolumetricData.from_cube(str(tmp_path / "n.cube"))
    # pymatgen takes a cube's numbers as they are, 1/bohr³
    np.testing.assert_allclose(cube.data["total"] / nearsight.units.BOHR_A**3, density, rtol=1e-5)
    xsf = XSF.from_str((tmp_path / "n.xsf").read_text(encoding="utf-8"))
    for structure, tolerance in ((chgcar.structure, 1e-8), (cube.structure, 1e-5), (xsf.structure, 1e-8)):
        np.testing.assert_allclose(structure.lattice.matrix, atoms.cell.array, atol=tolerance)
        assert [site.specie.symbol for site in structure] == list(atoms.symbols)
        apart = structure.frac_coords - atoms.get_scaled_positions()
        np.testing.assert_allclose(apart, np.round(apart), atol=1e-5)


def test_unknown_format(predicted, tmp_path, capsys):
    assert main(["export", str(predicted / "prediction.h5"), str(tmp_path / "n.dat")]) == 1
    assert "expected the suffix .cube or .xsf" in capsys.readouterr().err
    with pytest.raises(InputError, match="expected a dataset"):
        from nearsight.export import export_density

        export_density(tmp_path / "none.h5", tmp_path / "n.cube", "cube")
