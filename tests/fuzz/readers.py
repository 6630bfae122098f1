"""What is fuzzed: every reader of files that may come from others, with whole files to start from.

A reader is called with a path and either raises a NearsightError or returns what fulfils the assertions here.
"""

import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import h5py
import hdf5_checksums
import mala_files
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io.cube import write_cube
from test_config import QUICKSTART
from test_espresso_conditions import conditions
from test_espresso_outputs import md, scf
from test_espresso_pseudopotential import UPF1, UPF2
from test_model_bundle import make_bundle

from nearsight import datasets, hdf5, units
from nearsight.datasets import (
    atoms_of,
    open_foreign_dataset,
    provenance_of,
    settings_of,
    variables_of_atoms,
    write_dataset,
)
from nearsight.errors import InputError
from nearsight.grids.regions import Region
from nearsight.imports.espresso import read_header
from nearsight.imports.mala import openpmd
from nearsight.imports.mala.arrays import read_field
from nearsight.imports.mala.model import read_model
from nearsight.imports.mala.scalers import read_scaler
from nearsight.imports.mala.torch_file import read_state
from nearsight.inference.plan import PredictionPlan
from nearsight.inference.predict import StageSeconds, TilePrediction
from nearsight.inference.store import TileStore
from nearsight.model.bundle import load_bundle, save_bundle
from nearsight.model.network import build_network
from nearsight.model.training import Schedule, TrainingState, _load_checkpoint, _save_checkpoint
from nearsight.provenance import hash_settings
from nearsight.reference.espresso import hdf5_numbers
from nearsight.reference.espresso.augmentation import read_augmentation
from nearsight.reference.espresso.conditions import read_conditions
from nearsight.reference.espresso.cube import read_cube
from nearsight.reference.espresso.ld1 import check_deck, describe_deck
from nearsight.reference.espresso.outputs import (
    ElectronicStructure,
    check_convergence,
    read_electronic_structure,
    read_md_steps,
    text_energies,
)
from nearsight.reference.espresso.programs import ranks_of, version_of
from nearsight.reference.espresso.save import read_save_density
from nearsight.reference.espresso.text import read_text_run
from nearsight.reference.espresso.wavefunctions import open_wavefunctions
from nearsight.reference.pseudopotential import read_pseudopotential as read_upf
from nearsight.structures.gridded import grid_of
from nearsight.structures.io import read_frames
from nearsight.study.reading import load_study
from nearsight.study.sections import Perceptron, Training


@dataclass(frozen=True)
class Reader:
    """What a reader is attacked with.

    seeds: function of a folder -> whole files by name; read: function of the path of a damaged one; put_right: function
    of a whole and a damaged file -> the damaged one with right checksums, as a stranger would make it.
    """

    seeds: Callable[[Path], dict[str, bytes]]
    read: Callable[[Path], None]
    put_right: Callable[[bytes, bytes], bytes] | None = None


# ------------------------------------------------------------------------------------------------ model bundle


def bundle_files(folder: Path) -> tuple[Path, Path]:
    paths = folder / "whole.json", folder / "whole.safetensors"
    if not paths[0].exists():
        save_bundle(make_bundle(), *paths)
    return paths


def sign(content: dict) -> bytes:
    """The JSON part of a bundle with the right hash of its content."""
    content.pop("content_sha256", None)
    return json.dumps({**content, "content_sha256": hash_settings(content)}).encode()


def use(json_path: Path, weights_path: Path) -> None:
    bundle = load_bundle(json_path, weights_path)
    ldos = bundle.predict_ldos(np.zeros((2, bundle.network.inputs)))
    assert ldos.shape == (2, bundle.energy_grid.count)


def read_bundle(path: Path) -> None:
    """Damaged as it is, and with the right hash in it, as a stranger would write it."""
    weights = bundle_files(path.parent)[1]
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        path.write_bytes(sign(content))
    use(path, weights)


def read_weights(path: Path) -> None:
    content = json.loads(bundle_files(path.parent)[0].read_text())
    content["weights_sha256"] = sha256(path.read_bytes()).hexdigest()
    other = path.parent / "other.json"
    other.write_bytes(sign(content))
    use(other, path)


def checkpoint_parts() -> tuple[torch.nn.Module, torch.optim.Optimizer, Schedule]:
    settings = Training(network=Perceptron(hidden=[4], activation="tanh"), epochs=3)
    network = build_network(settings.network, 3, 2)
    optimiser = torch.optim.AdamW(network.parameters())
    return network, optimiser, Schedule(settings, optimiser, 1)


def checkpoint_seed(folder: Path) -> dict[str, bytes]:
    network, optimiser, schedule = checkpoint_parts()
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    path = folder / "whole-checkpoint.safetensors"
    _save_checkpoint(path, "same", network, optimiser, schedule, network.state_dict(), TrainingState(epoch=1))
    return {"checkpoint.safetensors": path.read_bytes()}


def read_checkpoint(path: Path) -> None:
    found = _load_checkpoint(path, "same", *checkpoint_parts())
    assert found is None or isinstance(found[0], TrainingState)


# ------------------------------------------------------------------------------------------------- prediction

TILE = Region((0, 2), (3, 5), (0, 3))


def plan_seed(folder: Path) -> dict[str, bytes]:
    del folder
    batches = [Region((0, 6), (0, 5), (0, 4)), Region((0, 6), (0, 5), (4, 8))]
    plan = PredictionPlan(
        (6, 5, 8),
        (8, 5, 9),
        60.0,
        batches,
        20,
        7.5,
        298.0,
        16.0,
        1,
        "native",
        "float32",
        False,
        0.9,
        1.1,
        "a" * 64,
        "b" * 64,
    )
    return {"plan.json": json.dumps(plan.to_json()).encode()}


def read_plan(path: Path) -> None:
    plan = PredictionPlan.from_file(path)
    assert sum(region.points for region in plan.batches) == np.prod(plan.shape, dtype=object)
    assert np.isfinite(plan.fermi_level_eV)


def tile_seed(folder: Path) -> dict[str, bytes]:
    fields, ldos = np.ones((2, 2, 3, 3)), np.ones((2, 2, 3, 4), np.float32)
    store = TileStore(folder)
    store.write(TilePrediction(TILE, np.ones(4), fields, ldos, StageSeconds(1.0, 2.0)))
    (written,) = folder.glob("tile-*")
    return {written.name: written.read_bytes()}


def read_tile(path: Path) -> None:
    """A damaged tile counts as one that is missing."""
    tile = TileStore(path.parent).read(TILE)
    if tile is None:
        raise InputError("no tile")
    assert tile.fields.shape[:3] == (2, 2, 3)
    assert np.isfinite(tile.fields).all()


# ------------------------------------------------------------------------------------------------------- HDF5


def dataset_seeds(folder: Path) -> dict[str, bytes]:
    """A dataset as we write it, and a small one."""
    generator = np.random.default_rng(1)
    variables = {
        **variables_of_atoms(bulk("Be")),
        "density": generator.random((3, 4, 5)),
        "ldos": generator.random((3, 4, 5, 2)),
        "energy": np.arange(2.0),
        "fermi_energy": 3.5,
    }
    write_dataset(folder / "whole.h5", variables, {"key": 1}, {"stage": "reference"})
    write_dataset(folder / "small.h5", {"energy": np.arange(3.0)}, {}, {})
    return {name: (folder / name).read_bytes() for name in ("whole.h5", "small.h5")}


@cache
def blocks_of(whole: bytes) -> list[tuple[int, int]]:
    return hdf5_checksums.find_blocks(whole)


def look_in_a_fork(path: Path, inspect: Callable[[str], str] = hdf5._inspect_dataset) -> str:
    """`hdf5.look_apart` without the time that a new interpreter takes."""
    messages, found = path.parent.parent / "messages", path.parent.parent / "found"
    child = os.fork()
    if child == 0:
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
            signal.signal(number, signal.SIG_DFL)  # libFuzzer would take them for its own
        os.dup2(os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
        os.dup2(os.open(found, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stdout.fileno())
        try:
            hdf5.look(str(path), inspect)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    hdf5.check_end(path, status, messages.read_text(errors="replace"))
    return found.read_text()


datasets.require_harmless = look_in_a_fork
hdf5_numbers.look_apart = lambda _, path: look_in_a_fork(Path(path), hdf5_numbers._inspect)
openpmd.look_apart = lambda _, path: look_in_a_fork(Path(path), openpmd._inspect)


def read_dataset(path: Path) -> None:
    with open_foreign_dataset(path) as dataset:
        assert isinstance(settings_of(dataset), dict)
        assert isinstance(provenance_of(dataset), dict)
        for variable in dataset.variables.values():
            assert variable.values.nbytes <= path.stat().st_size
        if {"cell", "positions", "atomic_numbers"} <= set(dataset.variables):
            assert isinstance(atoms_of(dataset), Atoms)


# ----------------------------------------------------------------------------------------------------- structures


def beryllium() -> Atoms:
    atoms = bulk("Be")
    atoms.info = {"grid_shape": [18, 18, 27], "time_fs": 2.0, "name": "a b", "list": [1.5, 2.5]}
    atoms.set_velocities(np.full((2, 3), 0.01))
    return atoms


def structure_seeds(folder: Path) -> dict[str, bytes]:
    seeds = {}
    names = {"x.extxyz": "extxyz", "x.cif": "cif", "POSCAR": "vasp", "x.pwi": "espresso-in", "x.xsf": "xsf"}
    for name, kind in names.items():
        options = {"pseudopotentials": {"Be": "Be.upf"}} if kind == "espresso-in" else {}
        beryllium().write(folder / f"whole-{name}", format=kind, **options)
        seeds[name] = (folder / f"whole-{name}").read_bytes()
    return seeds


def read_structures(path: Path) -> None:
    from nearsight.errors import InputError

    for atoms in read_frames(path):
        assert len(atoms) > 0
        assert np.isfinite(atoms.positions).all()
        try:
            assert len(grid_of(atoms, path)) == 3
        except InputError:
            continue


# --------------------------------------------------------------------------------------------- Quantum ESPRESSO


def cube_seed(folder: Path) -> dict[str, bytes]:
    with open(folder / "whole.cube", "w") as handle:
        write_cube(handle, bulk("Be"), np.random.default_rng(1).random((2, 3, 4)))
    return {"x.cube": (folder / "whole.cube").read_bytes()}


def read_one_cube(path: Path) -> None:
    cube = read_cube(path)
    assert np.isfinite(cube.values).all()
    assert np.isfinite(cube.atoms.cell).all()
    assert cube.atoms.get_chemical_formula()


def upf_seeds(folder: Path) -> dict[str, bytes]:
    del folder
    columns = "".join(f"<{tag}>\n 0.0 1.0D-1 2.0E-1\n</{tag}>\n" for tag in ("PP_R", "PP_RAB", "PP_NLCC"))
    full = (
        '<UPF version="2.0.1">\n<PP_INFO>a<b</PP_INFO>\n<PP_HEADER generated="x" element="Be" core_correction="T"\n'
        f'z_valence="2.00" functional="PBE" date="" />\n{columns}</UPF>\n'
    )
    deck = "&input\n title='Be', zed=4.\n/\n&inputp\n file_pseudopw='Be.upf'\n/\n"
    return {
        "2.upf": UPF2.encode(),
        "1.upf": UPF1.encode(),
        "core.upf": full.encode(),
        "paper.upf": full.replace("a<b", "a").encode(),
        "deck.in": deck.encode(),
    }


def read_pseudopotential(path: Path) -> None:
    if path.suffix == ".in":
        text = path.read_bytes().decode("utf-8", "replace")
        describe_deck(text)
        check_deck(text, path)
        return
    found = read_upf(path)
    assert found.valence > 0
    assert found.core is None or np.isfinite(found.core.density).all()


def read_xml(path: Path) -> None:
    if path.name == "md.xml":
        assert all(np.isfinite(step.forces).all() for step in read_md_steps(path))
        return
    result = read_electronic_structure(path)
    assert np.isfinite(result.band_energy)
    assert np.isfinite(result.atoms.positions).all()


PW_TEXT = """
     Program PWSCF v.6.7MaX starts on  1Jan2026 at 12: 0: 0
     Parallel version (MPI), running on     2 processors
     estimated scf accuracy    <       2.1E-10 Ry
!    total energy              =      -5.36822051 Ry
     one-electron contribution =       4.06006208 Ry
     hartree contribution      =       0.00427528 Ry
     xc contribution           =      -3.29414177 Ry
     ewald contribution        =      -6.13837306 Ry
     smearing contrib. (-TS)   =      -0.00004303 Ry
     convergence NOT achieved after 100 iterations
"""


def read_text(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    assert all(np.isfinite(value) for value in text_energies(text).values())
    version_of(text)
    ranks_of(text)
    check_convergence(text, "dft", 1e-9, 100)


def read_run_conditions(path: Path) -> None:
    found = read_conditions(path)
    numbers = (found.accuracy_Ry, found.conv_thr_Ry, found.mixing_beta, found.width_eV, found.charge)
    assert np.isfinite(numbers).all()


def comment_seed(folder: Path) -> dict[str, bytes]:
    del folder
    return {
        "x.cube": b" Cubefile created from PWScf calculation\n Energy =   -5.0000 eV, broadening =    0.2000 eV\n 2"
    }


def read_comment(path: Path) -> None:
    assert np.isfinite(read_header(path)).all()


def density_seeds(folder: Path) -> dict[str, bytes]:
    miller = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 2, -3]], dtype=np.int32)
    parts = [np.array([0, 4, 1], np.int32), np.eye(3), miller, np.arange(4) * (1 + 1j)]
    marks = [np.int32(part.nbytes).tobytes() for part in parts]
    with h5py.File(folder / "whole-density.hdf5", "w") as file:
        file.attrs.update({"gamma_only": np.bytes_(".FALSE."), "ngm_g": np.int32(4), "nspin": np.int32(1)})
        file.create_dataset("MillerIndices", data=miller)
        file.create_dataset("rhotot_g", data=parts[-1].view(np.float64))
    return {
        "charge-density.dat": b"".join(m + p.tobytes() + m for m, p in zip(marks, parts, strict=True)),
        "charge-density.hdf5": (folder / "whole-density.hdf5").read_bytes(),
    }


def read_density(path: Path) -> None:
    save = path.parent / "scf/nearsight.save"
    save.mkdir(parents=True, exist_ok=True)
    (save / "data-file-schema.xml").touch()
    for old in save.glob("charge-density.*"):
        old.unlink()
    path.replace(save / path.name)
    density = read_save_density(path.parent / "scf", (6, 6, 8))
    assert density.shape == (6, 6, 8)
    assert np.isfinite(density).all()


@cache
def small_run(folder: Path) -> ElectronicStructure:
    (folder / "scf.xml").write_text(scf())
    return read_electronic_structure(folder / "scf.xml")


def wave_seeds(folder: Path) -> dict[str, bytes]:
    """The first k-point of `scf()` in both formats: 100 plane waves, two bands."""
    run = small_run(folder)
    miller = np.array([(i, j, k) for i in range(-2, 3) for j in range(-2, 3) for k in range(-2, 2)], dtype=np.int32)
    reciprocal = 2 * np.pi * np.linalg.inv(run.atoms.cell.array / units.BOHR_A).T
    kpoint, bands = run.kpoints[0] @ reciprocal, np.random.default_rng(1).random((2, 100)) * (1 + 2j)
    head = struct.pack("<i3diid", 1, *kpoint, 1, 0, 1.0), struct.pack("<4i", 100, 100, 1, 2)
    records = [*head, reciprocal.tobytes(), miller.tobytes(), *(band.tobytes() for band in bands)]
    marks = [np.int32(len(record)).tobytes() for record in records]
    with h5py.File(folder / "whole.hdf5", "w") as file:
        numbers = {"ik": 1, "ispin": 1, "npol": 1, "ngw": 100, "igwx": 100, "nbnd": 2}
        file.attrs.update({name: np.int32(number) for name, number in numbers.items()})
        file.attrs.update({"scale_factor": 1.0, "xk": kpoint, "gamma_only": np.bytes_(".FALSE.")})
        file.create_dataset("MillerIndices", data=miller)
        file["MillerIndices"].attrs.update({f"bg{axis + 1}": reciprocal[axis] for axis in range(3)})
        file.create_dataset("evc", data=bands.view(np.float64))
    binary = b"".join(mark + record + mark for mark, record in zip(marks, records, strict=True))
    return {"wfc1.dat": binary, "wfc1.hdf5": (folder / "whole.hdf5").read_bytes()}


def read_waves(path: Path) -> None:
    save = path.parent / "scf/nearsight.save"
    save.mkdir(parents=True, exist_ok=True)
    for old in save.glob("wfc*"):
        old.unlink()
    for name in ("data-file-schema.xml", "charge-density.dat"):
        (save / name).touch()
    path.replace(save / path.name)
    coefficients = open_wavefunctions(path.parent / "scf", small_run(path.parent.parent), 0).read(0, 2)
    assert coefficients.shape == (2, 100)
    assert np.isfinite(coefficients).all()


def only(seeds: dict[str, bytes], suffix: str) -> dict[str, bytes]:
    return {name: content for name, content in seeds.items() if name.endswith(suffix)}


def hdf5_seeds(folder: Path) -> dict[str, bytes]:
    return only({**density_seeds(folder), **wave_seeds(folder)}, ".hdf5")


def augmentation_seeds(folder: Path) -> dict[str, bytes]:
    """Two projectors on five points; charges by angular momentum, for all together, with coefficients, of PAW."""
    del folder

    def element(tag: str, count: int = 5, about: str = "") -> str:
        numbers = " ".join(f"{0.1 * (index + 1):.2f}" for index in range(count))
        return f"<{tag} {about}>\n{numbers}\n</{tag}>\n"

    def upf(head: str, about: str, charges: str) -> bytes:
        betas = "".join(
            element(f"PP_BETA.{n + 1}", 5, f'angular_momentum="{n}" cutoff_radius_index="4"') for n in range(2)
        )
        return (
            f'<UPF version="2.0.1">\n<PP_HEADER element="Be" z_valence="2" {head} mesh_size="5" number_of_proj="2"/>\n'
            f"{element('PP_R')}{element('PP_RAB')}{betas}"
            f"<PP_AUGMENTATION {about}>\n{charges}</PP_AUGMENTATION>\n</UPF>\n"
        ).encode()

    of_momentum = [element(f"PP_QIJL.{n}") for n in ("1.1.0", "1.2.1", "2.2.0", "2.2.2")]
    of_pair = "".join(element(f"PP_QIJ.{n}") for n in ("1.1", "1.2", "2.2"))
    ultrasoft, coefficients = 'is_ultrasoft="T" is_paw="F"', element("PP_QFCOEF", 24) + element("PP_RINNER", 3)
    return {
        "ultrasoft.upf": upf(ultrasoft, 'q_with_l="true" nqf="0" nqlc="3"', "".join(of_momentum)),
        "pairs.upf": upf(ultrasoft, 'q_with_l="false" nqf="2" nqlc="3"', coefficients + of_pair),
        "paw.upf": upf('is_ultrasoft="T" is_paw="T"', 'q_with_l="T" cutoff_r_index="3"', "".join(of_momentum[1:])),
    }


def read_charges(path: Path) -> None:
    found = read_augmentation(read_upf(path), 2.0)
    if found is not None:
        vectors = np.array([[0.0, 0.0, 0.0], [0.1, -0.2, 1.5]])
        assert np.isfinite(found.transform_projectors(vectors, 100.0)).all()
        assert np.isfinite(found.transform_charges(vectors, 100.0)).all()


# ---------------------------------------------------------------------------------------------------------- MALA


def torch_seeds(folder: Path) -> dict[str, bytes]:
    del folder
    network = mala_files.make_network(width=3)
    return {"old.pth": mala_files.network_file(network), "new.pth": mala_files.network_file(network, old=False)}


def read_torch(path: Path) -> None:
    tensors, _ = read_state(path.read_bytes(), str(path))
    assert all(isinstance(tensor, np.ndarray) for tensor in tensors.values())


def scaler_seeds(folder: Path) -> dict[str, bytes]:
    del folder
    fields = mala_files.scaler_fields(np.random.default_rng(1).random((9, 5)), "feature-wise-standard")
    return {"x.pkl": mala_files.scaler_pickle(fields), "x.json": mala_files.scaler_json(fields)}


def read_one_scaler(path: Path) -> None:
    _, scaling = read_scaler(path.read_bytes(), str(path), 5)
    assert scaling.mean.shape == (5,)


def model_seeds(folder: Path) -> dict[str, bytes]:
    network, generator = mala_files.make_network(width=3), np.random.default_rng(1)
    scalers = [mala_files.scaler_fields(generator.random((9, n)), "feature-wise-standard") for n in (5, 9)]
    members = {
        "m.params.json": mala_files.parameters(network),
        "m.network.pth": mala_files.network_file(network),
        "m.iscaler.json": mala_files.scaler_json(scalers[0]),
        "m.oscaler.pkl": mala_files.scaler_pickle(scalers[1]),
        "m.info.json": mala_files.facts(mala_files.beryllium(0)[0]),
    }
    return {"m.zip": mala_files.write_model(folder / "whole.zip", members).read_bytes()}


def read_mala_model(path: Path) -> None:
    model = read_model(path)
    assert model.network.inputs == model.descriptor_scaling.mean.size


def array_seeds(folder: Path) -> dict[str, bytes]:
    values = np.random.default_rng(1).random((2, 3, 4, 2)).astype(np.float32)
    np.save(folder / "whole.npy", values)
    return {"x.npy": (folder / "whole.npy").read_bytes()}


def openpmd_seeds(folder: Path) -> dict[str, bytes]:
    values = np.random.default_rng(1).random((2, 3, 4, 2)).astype(np.float32)
    mala_files.write_openpmd(folder / "whole-chunks.h5", "LDOS", values, 6.241509074e48, (2, 2, 3))
    mala_files.write_openpmd(folder / "whole-plain.h5", "LDOS", values, 6.241509074e48)
    return {name: (folder / f"whole-{name}").read_bytes() for name in ("chunks.h5", "plain.h5")}


def read_array(path: Path) -> None:
    assert read_field(path, "LDOS").ndim == 4


def whole_text_seed(folder: Path) -> dict[str, bytes]:
    del folder
    atoms, grid = mala_files.beryllium(0)
    return {"x.out": mala_files.text_of_run(atoms, grid, mala_files.free_electrons(0, 10), 3.0).encode()}


def read_whole_text(path: Path) -> None:
    result, conditions = read_text_run(path)
    assert np.isfinite(result.eigenvalues).all()
    assert np.isfinite([conditions.conv_thr_Ry, result.band_energy]).all()


# ----------------------------------------------------------------------------------------------------- all of them


READERS = {
    "model bundle, JSON": Reader(lambda folder: {"x.json": bundle_files(folder)[0].read_bytes()}, read_bundle),
    "model bundle, weights": Reader(
        lambda folder: {"x.safetensors": bundle_files(folder)[1].read_bytes()}, read_weights
    ),
    "training checkpoint": Reader(checkpoint_seed, read_checkpoint),
    "HDF5 dataset": Reader(
        dataset_seeds, read_dataset, lambda whole, damaged: hdf5_checksums.put_right(damaged, blocks_of(whole))
    ),
    "plan of a prediction": Reader(plan_seed, read_plan),
    "tile of a prediction": Reader(tile_seed, read_tile),
    "structure": Reader(structure_seeds, read_structures),
    "study file (YAML)": Reader(lambda folder: {"x.yaml": QUICKSTART.encode()}, lambda path: load_study(path) and None),
    "cube": Reader(cube_seed, read_one_cube),
    "UPF, deck of ld1.x": Reader(upf_seeds, read_pseudopotential),
    "pw.x, XML": Reader(lambda folder: {"scf.xml": scf().encode(), "md.xml": md().encode()}, read_xml),
    "pw.x, XML, conditions": Reader(lambda folder: {"x.xml": conditions().encode()}, read_run_conditions),
    "pp.x, comment of a cube": Reader(comment_seed, read_comment),
    "pw.x, text": Reader(lambda folder: {"x.out": PW_TEXT.encode()}, read_text),
    "pw.x, charge-density.dat": Reader(lambda folder: only(density_seeds(folder), ".dat"), read_density),
    "pw.x, wfc1.dat": Reader(lambda folder: only(wave_seeds(folder), ".dat"), read_waves),
    "pw.x, HDF5": Reader(hdf5_seeds, lambda path: (read_waves if path.stem == "wfc1" else read_density)(path)),
    "UPF, augmentation": Reader(augmentation_seeds, read_charges),
    "pw.x, text of a whole run": Reader(whole_text_seed, read_whole_text),
    "MALA, model": Reader(model_seeds, read_mala_model),
    "MALA, tensors": Reader(torch_seeds, read_torch),
    "MALA, scaler": Reader(scaler_seeds, read_one_scaler),
    "MALA, array": Reader(array_seeds, read_array),
    "MALA, openPMD": Reader(openpmd_seeds, read_array),
}
