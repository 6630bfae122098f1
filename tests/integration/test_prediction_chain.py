"""Descriptors, plan, tiles and gathering through the jobs' own command lines, with a small random network."""

import gather_prediction
import numpy as np
import plan_tiles
import predict_tiles
import pytest
from ase.build import bulk

from nearsight.datasets import create_field_file, open_dataset, variables_of_atoms
from nearsight.descriptors.bispectrum import bispectrum
from nearsight.errors import InputError
from nearsight.files import read_json
from nearsight.ldos import EnergyGrid
from nearsight.model.bundle import ModelBundle, save_bundle
from nearsight.model.network import NetworkSettings, build_network
from nearsight.model.scaling import Scaling
from nearsight.structures.builders import GRID_SHAPE, build_supercell

TWOJMAX, COMPONENTS = 4, 14
DESCRIPTORS = {"twojmax": TWOJMAX, "cutoff_A": 4.0, "rfac0": 0.99363, "rmin0": 0.0}


@pytest.fixture(scope="module")
def cells():
    """A displaced cell of two atoms and its 1 x 2 x 1 repetition, both on the same points of space."""
    atoms = bulk("Be")
    atoms.positions += [[0.05, -0.08, 0.1], [0.0, 0.03, -0.06]]
    atoms.info[GRID_SHAPE] = [5, 6, 8]
    return {"cell": atoms, "repeated": build_supercell(atoms, (1, 2, 1))}


@pytest.fixture(scope="module")
def study(cells, tmp_path_factory):
    """Descriptor datasets of both cells and a model bundle; the folder's name has characters of a shell."""
    folder = tmp_path_factory.mktemp("a $(study); 'quoted'")
    values = {}
    for name, atoms in cells.items():
        shape = tuple(int(n) for n in atoms.info[GRID_SHAPE])
        values[name] = bispectrum(atoms, shape, backend="lammps", **DESCRIPTORS)
        settings = {**DESCRIPTORS, "backend": "lammps", "elements": ["Be"]}
        with create_field_file(
            folder / f"{name}.h5", "bispectrum", (*shape, COMPONENTS), variables_of_atoms(atoms), settings, {}
        ) as field:
            field[:] = values[name]
    save_bundle(make_model(values["cell"]), folder / "model.json", folder / "model.safetensors")
    return folder


def make_model(features):
    """A random network around a positive mean LDOS of about 0.3/(eV Å³)."""
    features = features.reshape(-1, COMPONENTS)
    grid = EnergyGrid.from_window(-6.0, 6.0, 0.2)
    shape = NetworkSettings(inputs=COMPONENTS, hidden=(16, 16), outputs=grid.count, activation="leaky_relu")
    return ModelBundle(
        network=build_network(shape, seed=3),
        network_settings=shape,
        descriptor_scaling=Scaling(features.mean(axis=0), features.std(axis=0) + 1e-12),
        ldos_scaling=Scaling(np.full(grid.count, 0.03), np.full(grid.count, 0.02)),
        descriptor_settings=DESCRIPTORS,
        energy_grid=grid,
        broadening_eV=0.4,
        temperature_K=2000.0,
        elements=["Be"],
        electrons_per_element={"Be": 2.0},
        training={},
        provenance={},
    )


def predict(study, name, batches, tile_points):
    """Run the three jobs; return the observables and the density."""
    folder = study / f"{name}-{batches}-{tile_points}"
    model = ["--model", f"{study}/model.json", "--weights", f"{study}/model.safetensors"]
    descriptors = ["--descriptors", f"{study}/{name}.h5"]
    plan = f"{folder}/plan.json"
    sizes = ["--batches", str(batches), "--tile-points", str(tile_points)]
    plan_tiles.main(plan_tiles.parse_arguments([*model, *descriptors, *sizes, "--output", plan]))
    files = [f"{folder}/batch-{number}.h5" for number in range(batches)]
    for number, file in enumerate(files):
        options = ["--plan", plan, *model, *descriptors, "--batch", str(number), "--output", file]
        predict_tiles.main(predict_tiles.parse_arguments(options))
    outputs = ["--output", f"{folder}/prediction.h5", "--observables", f"{folder}/observables.json"]
    gather_prediction.main(gather_prediction.parse_arguments(["--plan", plan, "--batches", *files, *outputs]))
    with open_dataset(folder / "prediction.h5") as dataset:
        return read_json(folder / "observables.json"), dataset["density"].values


def test_a_repeated_cell_gives_n_times_its_energy(study):
    one, density = predict(study, "cell", 1, 1000)
    two, repeated = predict(study, "repeated", 2, 77)
    assert one["electrons_of_density"] == pytest.approx(4.0, abs=1e-5)
    assert two["band_energy_eV"] == pytest.approx(2 * one["band_energy_eV"], abs=1e-6)
    assert two["entropy_energy_eV"] == pytest.approx(2 * one["entropy_energy_eV"], abs=1e-7)
    assert two["fermi_energy_eV"] == pytest.approx(one["fermi_energy_eV"], abs=1e-6)
    np.testing.assert_allclose(repeated, np.tile(density, (1, 2, 1)), rtol=1e-5)


@pytest.mark.parametrize(("batches", "tile_points"), [(2, 1000), (5, 7)])
def test_batches_and_tiles_change_nothing(study, batches, tile_points):
    one, density = predict(study, "cell", 1, 1000)
    other, other_density = predict(study, "cell", batches, tile_points)
    assert other["band_energy_eV"] == pytest.approx(one["band_energy_eV"], abs=1e-6)
    np.testing.assert_allclose(other_density, density, rtol=1e-6)


def test_a_model_swapped_between_batches_is_refused(study, tmp_path):
    plan = tmp_path / "plan.json"
    common = ["--model", f"{study}/model.json", "--descriptors", f"{study}/cell.h5"]
    weights = study / "model.safetensors"
    sizes = ["--batches", "2", "--tile-points", "50", "--output", str(plan)]
    plan_tiles.main(plan_tiles.parse_arguments([*common, "--weights", str(weights), *sizes]))
    other = tmp_path / "other.safetensors"
    other.write_bytes(weights.read_bytes() + b" ")
    options = ["--plan", str(plan), "--weights", str(other), "--batch", "0", "--output", str(tmp_path / "b.h5")]
    with pytest.raises(InputError, match=r"expected the file that .* was made from"):
        predict_tiles.main(predict_tiles.parse_arguments([*common, *options]))
    assert not (tmp_path / "b.h5").exists()


def test_a_model_for_other_descriptors_is_refused(study, cells, tmp_path):
    shape = (2, 2, 2)
    path = tmp_path / "other.h5"
    settings = {**DESCRIPTORS, "cutoff_A": 3.5, "backend": "lammps", "elements": ["Be"]}
    with create_field_file(
        path, "bispectrum", (*shape, COMPONENTS), variables_of_atoms(cells["cell"]), settings, {}
    ) as field:
        field[:] = 1.0
    options = ["--model", f"{study}/model.json", "--weights", f"{study}/model.safetensors"]
    options += ["--descriptors", str(path), "--batches", "1", "--tile-points", "8", "--output", f"{tmp_path}/p.json"]
    with pytest.raises(InputError, match="cutoff_A"):
        plan_tiles.main(plan_tiles.parse_arguments(options))
