"""`nearsight import mala`: models give MALA's numbers through our path; an LDOS becomes a snapshot of its run."""

import logging

import mala_files
import numpy as np
import pytest
import torch
from model_files import UPF

from nearsight.cli import main
from nearsight.datasets import open_dataset, settings_of
from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region
from nearsight.imports.kernels import Broadening, fermi_dirac
from nearsight.imports.mala.model import import_model, read_model
from nearsight.inference.extrapolation import check_density, measure_extrapolation
from nearsight.inference.predict import prepare_predictor
from nearsight.model.bundle import load_bundle
from nearsight.reference.espresso.collect import broadened_dos
from nearsight.reference.espresso.one_pass import gaussian
from nearsight.reference.espresso.text import find_kpoint_grid, read_text_run

GRID = EnergyGrid(-3.0, 0.25, 93)
WIDTH_eV = 0.4


@pytest.fixture
def upf(tmp_path):
    (tmp_path / "upf").mkdir()
    (tmp_path / "upf/Be.upf").write_text(UPF)
    return tmp_path / "upf"


def descriptors_of(atoms, shape):
    return bispectrum(atoms, shape, backend="torch", twojmax=2, cutoff_A=mala_files.CUTOFF_A)


def ldos_of(states, shape, atoms, kernel=fermi_dirac, width_eV=WIDTH_eV):
    """An LDOS that varies over the cell and sums to the broadened eigenvalues, 1/(eV Å³)."""
    dos = broadened_dos(states, np.full(4, 0.5), GRID, width_eV, kernel)
    wave = 1 + 0.3 * np.cos(2 * np.pi * np.arange(shape[0]) / shape[0])
    return (wave[:, None, None, None] * np.ones(shape)[..., None] * dos / atoms.get_volume()).astype(np.float32)


def write_snapshot_files(folder, number, kernel=fermi_dirac, **text):
    """Descriptors with xyz, LDOS and text of a run by MALA's names; structure, grid and eigenvalues."""
    folder.mkdir(exist_ok=True)
    atoms, shape = mala_files.beryllium(number)
    states = mala_files.free_electrons(number)
    stem = folder / f"Be_snapshot{number}"
    stem.with_name(stem.name + ".out").write_text(
        mala_files.text_of_run(atoms, shape, states, mala_files.fermi_level(states), **text)
    )
    atoms = read_text_run(stem.with_name(stem.name + ".out"))[0].atoms
    values = descriptors_of(atoms, shape)
    np.save(stem.with_name(stem.name + ".in.npy"), np.concatenate([np.zeros((*shape, 3)), values], -1).astype("f4"))
    np.save(stem.with_name(stem.name + ".out.npy"), ldos_of(states, shape, atoms, kernel))
    return atoms, shape, states


def write_model(path, network, rows, ldos, *, form="json", old=True, with_facts=True, kinds=(), **changes):
    input_kind, output_kind = kinds or ("feature-wise-standard", "minmax")
    write = {"json": mala_files.scaler_json, "pkl": mala_files.scaler_pickle}[form]
    members = {
        "Be_model.network.pth": mala_files.network_file(network, old),
        f"Be_model.iscaler.{form}": write(mala_files.scaler_fields(rows, input_kind)),
        f"Be_model.oscaler.{form}": write(mala_files.scaler_fields(ldos, output_kind)),
        "Be_model.params.json": mala_files.parameters(network, ldos.shape[-1], **changes),
    }
    if with_facts:
        members["Be_model.info.json"] = mala_files.facts(mala_files.beryllium(0)[0])
    return mala_files.write_model(path, members)


def as_mala(network, rows, ldos, kinds, clipped=True):
    """MALA's Predictor: scale, forward, scale back, cut what is negative; in float32 as there."""
    rows, ldos = (torch.as_tensor(values, dtype=torch.float32) for values in (rows, ldos))
    x = (rows - rows.mean(0)) / rows.std(0) if kinds[0] == "feature-wise-standard" else (
        (rows - rows.min()) / (rows.max() - rows.min())
    )  # fmt: skip
    with torch.no_grad():
        y = network(x)
    if kinds[1] == "minmax":
        y = y * (ldos.max() - ldos.min()) + ldos.min()
    elif kinds[1] == "feature-wise-standard":
        y = y * ldos.std(0) + ldos.mean(0)
    y = y.numpy()
    return np.where(y < 0, 0, y) if clipped else y


@pytest.mark.parametrize(
    ("activation", "after_output", "kinds", "clipped"),
    [
        ("ReLU", True, ("feature-wise-standard", "minmax"), True),
        ("LeakyReLU", True, ("feature-wise-standard", "feature-wise-standard"), True),
        ("Tanh", False, ("minmax", "feature-wise-standard"), True),
        ("GELU", False, ("feature-wise-standard", "None"), False),
        ("Sigmoid", True, ("feature-wise-standard", "feature-wise-standard"), True),
    ],
)
def test_networks_give_malas_numbers(tmp_path, activation, after_output, kinds, clipped):
    generator = np.random.default_rng(5)
    rows, ldos = generator.normal(size=(300, 5)) * [1, 10, 100, 1, 1], generator.normal(size=(300, 9)) - 0.05
    ldos = np.abs(ldos) if kinds[1] == "minmax" else ldos
    network = mala_files.make_network(3, 9, getattr(torch.nn, activation), after_output)
    changes = {
        "network__layer_activations": activation,
        "network__layer_activations_include_output_layer": after_output,
        "targets__restrict_targets": "zero_out_negative" if clipped else None,
    }
    path = write_model(tmp_path / "m.zip", network, rows, ldos, kinds=kinds, **changes)
    model = read_model(path)
    scaled = model.network(torch.from_numpy(model.descriptor_scaling.apply(rows))).numpy()
    found, expected = model.ldos_scaling.invert(scaled), as_mala(network, rows, ldos, kinds, clipped)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    # something is cut, or it is no test of it
    assert not clipped or activation in ("ReLU", "Sigmoid") or 0 < (found == 0).sum() < found.size
    assert clipped or (found < 0).any()


def test_a_model_predicts_by_our_path(tmp_path, upf):
    atoms, shape, _ = write_snapshot_files(tmp_path / "data", 0)
    rows = descriptors_of(atoms, shape).reshape(-1, 5)
    ldos = np.random.default_rng(5).random((300, 9)) * 0.03
    network = mala_files.make_network(3, 9, torch.nn.ReLU)
    # a version of before: pickled scalers, a list of one activation, and no word on the last layer
    changes = {
        "network__layer_activations": ["ReLU"],
        "network__layer_activations_include_output_layer": KeyError,
    }
    path = write_model(tmp_path / "Be_model.zip", network, rows, ldos, form="pkl", **changes)
    out = tmp_path / "model"
    assert main(["import", "mala", str(path), "--out", str(out), "--pseudopotentials", str(upf)]) == 0
    model = load_bundle(out / "model.json", out / "model.safetensors")
    assert (model.elements, model.temperature_K, model.broadening_eV) == (["Be"], mala_files.TEMPERATURE_K, None)
    predictor = prepare_predictor(model, atoms, RealGrid(atoms.cell, shape), precision="float32", threads=1)
    tile = predictor.predict(Region.whole(shape), np.zeros((9, 0)), keep_ldos=True)
    expected = as_mala(network, rows, ldos, ("feature-wise-standard", "minmax")).reshape(*shape, 9)
    np.testing.assert_allclose(tile.ldos, expected, atol=1e-4 * expected.max())
    np.testing.assert_allclose(tile.dos, expected.mean((0, 1, 2), dtype=float) * atoms.get_volume(), rtol=1e-4)
    # of the domain mean and deviation alone are known: the training structure is inside, a hot one is not
    inside = measure_extrapolation(model, atoms, RealGrid(atoms.cell, shape), None)
    assert 0.3 < inside.descriptor_score < 1.1
    assert inside.rdf_score < 1e-3
    denser = atoms.copy()
    denser.set_cell(atoms.cell * 0.8, scale_atoms=True)
    assert measure_extrapolation(model, denser, RealGrid(denser.cell, shape), None).descriptor_score > 10


def test_data_tell_domain_and_broadening(tmp_path, upf, caplog):
    caplog.set_level(logging.INFO)
    data = tmp_path / "data"
    (first, shape, states), (second, *_) = (write_snapshot_files(data, number) for number in range(2))
    rows, ldos = descriptors_of(first, shape).reshape(-1, 5), ldos_of(states, shape, first).reshape(-1, GRID.count)
    window = {"targets__ldos_gridoffset_ev": GRID.minimum_eV, "targets__ldos_gridspacing_ev": GRID.spacing_eV}
    network = mala_files.make_network(3, GRID.count)
    path = write_model(tmp_path / "Be_model.zip", network, rows, ldos, old=False, **window)
    model = import_model(path, tmp_path / "model", pseudopotentials=upf, data=data)
    assert model.provenance["settings"]["broadening"]["kernel"] == "fermi-dirac"
    assert model.provenance["settings"]["broadening"]["kernel_width_eV"] == WIDTH_eV
    # the variance of -df/dε is π²/3 of its width squared, that of exp(-(ε/s)²) is s²/2
    assert model.broadening_eV**2 / 2 == pytest.approx(np.pi**2 / 3 * WIDTH_eV**2, rel=1e-5)
    assert measure_extrapolation(model, second, RealGrid(second.cell, shape), None).descriptor_score == pytest.approx(
        1, abs=0.1
    )
    check_density(model, first, accept=False)
    off = import_model(path, tmp_path / "off", pseudopotentials=upf, data=data, correction=False)
    assert off.broadening_eV is None
    given = import_model(path, tmp_path / "g", pseudopotentials=upf, broadening=Broadening("gaussian", 0.3))
    assert given.broadening_eV == 0.3
    # descriptors of another structure
    (data / "Be_snapshot0.in.npy").write_bytes((data / "Be_snapshot1.in.npy").read_bytes())
    with pytest.raises(InputError, match="expected the bispectrum of the structure beside it"):
        import_model(path, tmp_path / "model", pseudopotentials=upf, data=data)
    with pytest.raises(InputError, match=r"expected the training snapshots.*Be_snapshot0\.in\.npy"):
        import_model(path, tmp_path / "model", pseudopotentials=upf, data=upf)


def test_models_that_cannot_be_used(tmp_path, upf):
    rows, ldos = np.random.default_rng(5).random((50, 5)), np.random.default_rng(6).random((50, 9))
    network = mala_files.make_network()

    def refuse(message, network=network, pseudopotentials=upf, **options):
        path = write_model(tmp_path / "x.zip", network, rows, options.pop("ldos", ldos), **options)
        with pytest.raises(InputError, match=message):
            import_model(path, tmp_path / "model", pseudopotentials=pseudopotentials)
        assert not (tmp_path / "model").exists()

    refuse("additional data of a calculation", with_facts=False)
    refuse("a scaler .minmax. that does not say", kinds=("minmax", "minmax"))
    refuse("the pseudopotential of Be, Be.upf, found no UPF file", pseudopotentials=tmp_path)
    refuse("layer_activations: expected one of .* got 'Mish'", network__layer_activations="Mish")
    refuse("expected 2 linear layers, .* got 2|layers.0: expected the shapes", network__layer_sizes=[5, 13, 9])
    refuse("expected 3 linear layers", network__layer_sizes=[5, 12, 12, 9])
    refuse("expected 14 numbers of the first layer", descriptors__bispectrum_twojmax=4)
    refuse("layer_sizes: expected 8 numbers of the last layer", targets__ldos_gridsize=8)
    layers = [torch.nn.Linear(5, 12), torch.nn.BatchNorm1d(12), torch.nn.ReLU(), torch.nn.Linear(12, 9)]
    refuse("layers.1.weight|layers.1.running_mean|expected 2 linear", network=mala_files.Network(*layers))
    layers = [torch.nn.Linear(5, 12), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(12, 9)]
    refuse("at most one activation", network=mala_files.Network(*layers))
    broken = mala_files.make_network()
    broken.layers[0].weight.data[0, 0] = np.nan
    refuse("layers.0.weight: expected finite numbers", network=broken)
    (tmp_path / "two.zip").write_bytes(b"PK\x05\x06" + 18 * b"\0")
    with pytest.raises(InputError, match="expected one model"):
        read_model(tmp_path / "two.zip")


def window_options(text, out, upf):
    return ["--text", str(text), "--out", str(out), "--pseudopotentials", str(upf), "--energy-min-eV", "-3",
            "--energy-max-eV", "20", "--spacing-eV", "0.25"]  # fmt: skip


@pytest.mark.parametrize(("kernel", "name"), [(fermi_dirac, "fermi-dirac"), (gaussian, "gaussian")])
def test_an_ldos_becomes_a_snapshot(tmp_path, upf, kernel, name, caplog):
    atoms, shape, states = write_snapshot_files(tmp_path / "data", 0, kernel)
    files = {end: tmp_path / f"data/Be_snapshot0{end}" for end in (".out", ".out.npy")}
    out = tmp_path / "snapshot.h5"
    options = window_options(files[".out"], out, upf)
    # 4 widths of the Gaussian with the variance of Fermi functions reach beyond the window
    accept = ["--accept-coarse"] if kernel is fermi_dirac else []
    assert main(["import", "mala", str(files[".out.npy"]), *options, *accept]) == 0
    assert "not DFT's own" in caplog.text
    with open_dataset(out) as dataset:
        settings = settings_of(dataset)
        np.testing.assert_array_equal(dataset["ldos"].values, np.load(files[".out.npy"]))
        np.testing.assert_array_equal(dataset["eigenvalues"].values, states)
        np.testing.assert_allclose(dataset["cell"].values, np.asarray(atoms.cell), atol=1e-9)
        assert float(dataset["density"].sum()) * atoms.get_volume() / np.prod(shape) == pytest.approx(4.0, rel=1e-6)
        assert float(dataset["total_free_energy"]) == pytest.approx(-5 * 13.605693123)
        assert dataset["forces"].values[0, 0] == pytest.approx(-0.01587068 * 25.7110432, rel=1e-6)
        np.testing.assert_allclose(dataset["energy"].values, GRID.energies_eV)
    assert (settings["ldos"]["kernel"], settings["ldos"]["kernel_width_eV"]) == (name, WIDTH_eV)
    assert settings["dft"]["kpoints"] == [2, 2, 1]
    assert settings["density"] == "of the LDOS"


def test_an_ldos_in_other_units_is_known_by_its_states(tmp_path, upf, caplog):
    caplog.set_level(logging.INFO)
    write_snapshot_files(tmp_path / "data", 0, gaussian)
    path = tmp_path / "data/Be_snapshot0.out.npy"
    values = np.load(path)
    np.save(path, values / np.float32(0.4959910))  # 1/(Ry bohr³) in 1/(eV Å³)
    options = window_options(tmp_path / "data/Be_snapshot0.out", tmp_path / "x.h5", upf)
    assert main(["import", "mala", str(path), *options, "--broadening-eV", "0.4"]) == 0
    assert "in 1/(Ry*Bohr^3), broadened by gaussian of 0.4 eV" in caplog.text
    with open_dataset(tmp_path / "x.h5") as dataset:
        np.testing.assert_allclose(dataset["ldos"].values, values, rtol=1e-5)


def test_an_ldos_that_is_none_of_the_run(tmp_path, upf, capsys):
    atoms, shape, _ = write_snapshot_files(tmp_path / "data", 0, gaussian, conv_thr=1e-2)
    path, text, out = tmp_path / "data/Be_snapshot0.out.npy", tmp_path / "data/Be_snapshot0.out", tmp_path / "x.h5"
    whole, plain = text.read_text(), np.load(path)
    options = window_options(text, out, upf)

    def refused():
        assert main(["import", "mala", str(path), *options]) == 1
        assert not out.exists()
        return capsys.readouterr().err

    assert "conv_thr: expected at most 1e-05 Ry, got 0.01 Ry" in refused()
    np.save(path, plain[..., 1:])
    assert "expected the shape" in refused()
    np.save(path, np.roll(plain, 2, axis=-1))
    assert "expected an LDOS that sums to the eigenvalues" in refused()
    plain[1, 2, 3, 4] = np.nan
    np.save(path, plain)
    assert "got NaN or infinity at (1, 2, 3, 4)" in refused()
    text.write_text(whole.replace("bands (ev):", "bands"))
    assert "verbosity = 'high'" in refused()
    text.write_text(whole + whole)
    assert "got one with the end of 2 of them" in refused()
    text.write_text(whole.replace("Fermi-Dirac", "gaussian"))
    assert "expected" in refused()
    assert main(["import", "mala", str(path), "--out", str(out), "--pseudopotentials", str(upf)]) == 1
    assert "--text: expected it" in capsys.readouterr().err
    assert main(["import", "mala", str(path), "--out", str(out)]) == 1
    assert "--pseudopotentials" in capsys.readouterr().err
    assert main(["import", "mala", str(path), *options, "--nscf", "x"]) == 1
    assert "--nscf: expected it with qe alone" in capsys.readouterr().err
    del atoms, shape


def test_the_text_tells_the_temperature_to_four_digits(tmp_path, upf, capsys):
    write_snapshot_files(tmp_path / "data", 0, gaussian)
    path, text, out = tmp_path / "data/Be_snapshot0.out.npy", tmp_path / "data/Be_snapshot0.out", tmp_path / "x.h5"
    options = window_options(text, out, upf)
    assert main(["import", "mala", str(path), *options, "--temperature-K", "2000"]) == 0
    with open_dataset(out) as dataset:
        assert settings_of(dataset)["temperature_K"] == pytest.approx(2000, rel=1e-12)
    assert main(["import", "mala", str(path), *options, "--overwrite", "--temperature-K", "2100"]) == 1
    assert "expected the width of 2100 K, 0.0133 Ry, got 0.0127 Ry" in capsys.readouterr().err


def test_kpoint_grids_are_found_in_lists():
    for numbers, shift in (((4, 3, 1), (0, 0, 0)), ((2, 4, 3), (1, 1, 0)), ((5, 1, 2), (1, 0, 1))):
        axes = [(np.arange(n) + s / 2) / n for n, s in zip(numbers, shift, strict=True)]
        whole = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        assert find_kpoint_grid(whole) == (numbers, shift)
        # pw.x folds them back, and keeps one of k and -k
        folded = whole - np.round(whole)
        half = [k for n, k in enumerate(folded) if not any(np.allclose((k + other) % 1, 0) for other in folded[:n])]
        assert find_kpoint_grid(np.array(half)) == (numbers, shift)
    assert find_kpoint_grid(np.array([[0.1, 0, 0], [0.3, 0, 0]])) is None
