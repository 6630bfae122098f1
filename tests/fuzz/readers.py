"""What is fuzzed: every reader of files that may come from others, with whole files to start from.

A reader is called with a path and either raises a NearsightError or returns what fulfils the assertions here.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import hdf5_checksums
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io.cube import write_cube
from test_config import QUICKSTART
from test_espresso_outputs import md, scf
from test_espresso_pseudopotential import UPF1, UPF2
from test_model_bundle import make_bundle

from nearsight import datasets, hdf5
from nearsight.datasets import atoms_of, open_dataset, provenance_of, settings_of, variables_of_atoms, write_dataset
from nearsight.errors import InputError
from nearsight.grids.tiles import points_of
from nearsight.inference.plan import PredictionPlan
from nearsight.inference.predict import StageSeconds, TilePrediction
from nearsight.inference.store import TileStore
from nearsight.model.bundle import load_bundle, save_bundle
from nearsight.model.network import build_network
from nearsight.model.training import Schedule, TrainingState, _load_checkpoint, _save_checkpoint
from nearsight.provenance import hash_settings
from nearsight.reference.espresso.cube import read_cube
from nearsight.reference.espresso.outputs import (
    check_convergence,
    read_electronic_structure,
    read_md_steps,
    text_energies,
)
from nearsight.reference.espresso.programs import ranks_of, version_of
from nearsight.reference.espresso.save import read_save_density
from nearsight.reference.pseudopotential import check_deck, read_core_charge, read_upf
from nearsight.structures.builders import grid_of
from nearsight.structures.io import read_frames
from nearsight.study.config import Perceptron, Training, load_study


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

TILE = ((0, 2), (3, 5), (0, 3))


def plan_seed(folder: Path) -> dict[str, bytes]:
    del folder
    batches = [((0, 6), (0, 5), (0, 4)), ((0, 6), (0, 5), (4, 8))]
    plan = PredictionPlan(
        (6, 5, 8), batches, 20, 7.5, 16.0, 1, "native", "float32", False, 0.9, 1.1, "a" * 64, "b" * 64
    )
    return {"plan.json": json.dumps(plan.to_json()).encode()}


def read_plan(path: Path) -> None:
    plan = PredictionPlan.from_file(path)
    assert sum(points_of(region) for region in plan.batches) == np.prod(plan.shape, dtype=object)
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


def look_in_a_fork(path: Path) -> None:
    """`hdf5.require_harmless` without the time that a new interpreter takes."""
    messages = path.parent.parent / "messages"
    child = os.fork()
    if child == 0:
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
            signal.signal(number, signal.SIG_DFL)  # libFuzzer would take them for its own
        os.dup2(os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
        try:
            hdf5.look(str(path))
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    hdf5.check_end(path, status, messages.read_text(errors="replace"))


datasets.require_harmless = look_in_a_fork


def read_dataset(path: Path) -> None:
    with open_dataset(path) as dataset:
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
    return {"2.upf": UPF2.encode(), "1.upf": UPF1.encode(), "core.upf": full.encode(), "deck.in": deck.encode()}


def read_pseudopotential(path: Path) -> None:
    if path.suffix == ".in":
        check_deck(path.read_bytes().decode("utf-8", "replace"), path)
        return
    assert read_upf(path).valence > 0
    core = read_core_charge(path)
    assert core is None or np.isfinite(core.density).all()


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


def density_seed(folder: Path) -> dict[str, bytes]:
    del folder
    miller = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 2, -3]], dtype=np.int32)
    parts = [np.array([0, 4, 1], np.int32), np.eye(3), miller, np.arange(4) * (1 + 1j)]
    marks = [np.int32(part.nbytes).tobytes() for part in parts]
    return {"charge-density.dat": b"".join(m + p.tobytes() + m for m, p in zip(marks, parts, strict=True))}


def read_density(path: Path) -> None:
    save = path.parent / "scf/nearsight.save"
    save.mkdir(parents=True, exist_ok=True)
    (save / "data-file-schema.xml").touch()
    path.replace(save / "charge-density.dat")
    density = read_save_density(path.parent / "scf", (6, 6, 8))
    assert density.shape == (6, 6, 8)
    assert np.isfinite(density).all()


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
    "pw.x, text": Reader(lambda folder: {"x.out": PW_TEXT.encode()}, read_text),
    "pw.x, charge-density.dat": Reader(density_seed, read_density),
}
