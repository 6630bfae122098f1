"""Checks of training files against each other, and the shuffled stream."""

import re

import h5py
import numpy as np
import pytest
from model_files import DESCRIPTOR_SETTINGS, REFERENCE_SETTINGS, ENERGIES_eV, write_pair

from nearsight.errors import InputError
from nearsight.grids.energies import EnergyGrid
from nearsight.model import data as module
from nearsight.model.data import ShuffledRows, blocks_of, describe_snapshots, measure_scalings


@pytest.fixture
def pairs(tmp_path):
    return [write_pair(tmp_path, f"s {seed}", seed, shape=(4, 3 + seed, 5)) for seed in range(3)]


def describe(pairs):
    return describe_snapshots([one for one, _ in pairs], [other for _, other in pairs])


def test_description(pairs):
    snapshots, data = describe(pairs)
    assert [snapshot.points for snapshot in snapshots] == [60, 80, 100]
    assert data.components == 5
    assert data.energy_grid == EnergyGrid(-1.0, 0.25, 9)
    assert (data.broadening_eV, data.temperature_K) == (0.5, 298.0)
    assert data.descriptor_settings == {k: v for k, v in DESCRIPTOR_SETTINGS.items() if k != "elements"}
    assert (data.elements, data.electrons_per_element) == (["Be"], {"Be": 2.0})


def test_snapshots_of_several_temperatures(tmp_path):
    """The electrons' temperature is each snapshot's own, that of the ions where there is none."""
    changes = {}, {"temperature_K": 600.0}, {"temperature_K": 600.0, "electron_temperature_K": 1000.0}
    pairs = [write_pair(tmp_path, f"s{i}", i, reference=change) for i, change in enumerate(changes)]
    snapshots, data = describe(pairs)
    assert [snapshot.temperature_K for snapshot in snapshots] == [298.0, 600.0, 1000.0]
    assert data.temperature_K == 298.0
    assert [snapshot.electrons for snapshot in snapshots] == [4.0] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"descriptors": {"cutoff_A": 5.0}},
            r"descriptors: expected cutoff_A = 4\.67637 as in .*, got cutoff_A = 5\.0",
        ),
        ({"descriptors": {"elements": ["Li"]}}, r"elements: expected \['Be'\]|valence"),
        ({"reference": {"ldos": {"broadening_eV": 0.2}}}, r"ldos\.broadening_eV: expected 0\.5 as in .*, got 0\.2"),
        ({"reference": {"valence": {"Be": 4.0}}}, r"valence\.Be: expected 2\.0 as in .*, got 4\.0"),
        ({"reference": {"ldos": {}}}, r"settings\.ldos\.broadening_eV: expected it"),
        (
            {"reference": {"ldos": {"broadening_eV": None}}},
            r"ldos\.broadening_eV: expected a positive number, got None",
        ),
        ({"reference": {"temperature_K": "hot"}}, r"temperature_K: expected a positive number, got 'hot'"),
        ({"reference": {"dft": {"ecutrho_Ry": 0}}}, r"ecutrho_Ry: expected a positive number, got 0"),
        ({"energies": ENERGIES_eV + 0.25}, r"energies: expected 9 from -1\.0 to 1\.0 eV as in .*, got 9 from -0\.75"),
        ({"energies": ENERGIES_eV[:-1]}, r"energies: expected 9 from .*, got 8 from"),
        ({"twin_shape": (4, 3, 6)}, r"grid: expected \(4, 3, 5\) as in .*, got \(4, 3, 6\)"),
        ({"shift_A": 0.01}, r"atoms: expected the structure of .*, got another one"),
    ],
)
def test_files_that_do_not_fit(tmp_path, pairs, changes, message):
    odd = write_pair(tmp_path, "odd; $1", 9, **changes)
    with pytest.raises(InputError, match=message) as caught:
        describe([*pairs, odd])
    assert "odd; $1" in str(caught.value)


PHYSICS = {
    "functional": ({"reference": {"functional": "PBEsol"}}, "functional: expected PBE as in .*, got PBEsol"),
    "wave functions": (
        {"reference": {"dft": {**REFERENCE_SETTINGS["dft"], "ecutwfc_Ry": 30.0}}},
        r"dft\.ecutwfc_Ry: expected 40\.0 as in .*, got 30\.0",
    ),
    "density": (
        {"reference": {"dft": {**REFERENCE_SETTINGS["dft"], "ecutrho_Ry": 240.0}}},
        r"dft\.ecutrho_Ry: expected 160\.0 as in .*, got 240\.0",
    ),
    "kernel": (
        {"reference": {"ldos": {**REFERENCE_SETTINGS["ldos"], "kernel": "fermi-dirac"}}},
        r"ldos\.kernel: expected gaussian as in .*, got fermi-dirac",
    ),
    "pseudopotential": (
        {"provenance": {"inputs_sha256": {"pseudopotential Be": "b" * 64}}},
        "SHA-256 of the pseudopotential of Be: expected aaaa.* as in .*, got bbbb",
    ),
}


@pytest.mark.parametrize("name", PHYSICS)
def test_other_physics_is_refused_and_both_files_are_named(tmp_path, name):
    """Whichever the files' order."""
    changes, message = PHYSICS[name]
    stated = {"inputs_sha256": {"pseudopotential Be": "a" * 64}}
    usual, odd = write_pair(tmp_path, "usual", 1, provenance=stated), write_pair(tmp_path, "odd", 9, **changes)
    with pytest.raises(InputError, match=message) as caught:
        describe([usual, odd])
    assert all(str(path) in str(caught.value) for path in (usual[0], odd[0]))
    with pytest.raises(InputError, match=message.partition(":")[0]):
        describe([odd, usual])


def espresso(version):
    return {"provenance": {"programs": {"Quantum ESPRESSO": version}}}


DOUBTS = {
    "version": ([espresso("6.7"), espresso("6.7"), espresso("7.2")], "version of Quantum ESPRESSO: 7.2; .*: 6.7"),
    "version of one": ([espresso("6.7"), {}, {}], r"\(and 1 more\): version of Quantum ESPRESSO: not stated; .*: 6.7"),
    "pseudopotential of one": (
        [{"provenance": {"inputs_sha256": {"pseudopotential Be": "a" * 64}}}, {}],
        "SHA-256 of the pseudopotential of Be: not stated; .*: stated",
    ),
    "k-points": (
        [{}, {"reference": {"dft": {**REFERENCE_SETTINGS["dft"], "kpoints": [4, 3, 4]}}}],
        r"k-points: spacing 0\.598 1/Å, shift 0 0 0; .*: spacing 0\.449 1/Å",  # 2π/3.5 Å over 3 and 4
    ),
    "shift": (
        [{}, {"reference": {"dft": {**REFERENCE_SETTINGS["dft"], "kpoints_shift": [1, 1, 1]}}}],
        "k-points: .* shift 1 1 1; .* shift 0 0 0",
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_what_may_move_energies_is_said(tmp_path, caplog, name):
    changes, message = DOUBTS[name]
    pairs = [write_pair(tmp_path, f"s{i}", i, **change) for i, change in enumerate(changes)]
    assert len(describe(pairs)[0]) == len(changes)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert re.search(message, warning)
    assert str(pairs[0][0]) in warning
    assert any(str(pair[0]) in warning for pair in pairs[1:])


def test_the_same_method_is_no_word(tmp_path, caplog):
    """Strained cells with the k-set of the others too."""
    pairs = [
        write_pair(tmp_path, f"s{i}", i, cell_scale=scale, **espresso("6.7")) for i, scale in enumerate([0.97, 1.03])
    ]
    describe(pairs)
    assert not caplog.records


def test_another_backend_fits(tmp_path, pairs):
    other = write_pair(tmp_path, "native", 9, descriptors={"backend": "native"})
    assert len(describe([*pairs, other])[0]) == 4


def test_images_of_the_same_atoms_fit(tmp_path):
    """A descriptor file with atoms shifted by a lattice vector is of the same structure."""
    pair = write_pair(tmp_path, "image", 9, shift_A=np.array([4.0, -7.0, 5.0]))
    assert len(describe([pair])[0]) == 1


def test_numbers_of_files(pairs):
    with pytest.raises(InputError, match="got 3 snapshots and 2 descriptor datasets"):
        describe_snapshots([one for one, _ in pairs], [other for _, other in pairs[:2]])
    with pytest.raises(InputError, match="at least one"):
        describe_snapshots([], [])


def test_exchanged_arguments(pairs):
    with pytest.raises(InputError, match="not found"):
        describe_snapshots([pairs[0][1]], [pairs[0][0]])


@pytest.mark.parametrize("part", [0, 1])
def test_truncated_files(pairs, part):
    path = pairs[1][part]
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="expected a whole HDF5 dataset"):
        describe(pairs)


def test_damaged_numbers(pairs):
    with h5py.File(pairs[1][1], "r+") as file:
        file["descriptors"][2, 1, 3, 2] = np.nan
    snapshots, _ = describe(pairs)
    with pytest.raises(InputError, match=r"s 1 descriptors\.h5: descriptors: expected finite numbers"):
        measure_scalings(snapshots, 5, 9)


@pytest.mark.parametrize("points", [1, 7, 11, 1000])
def test_blocks_cover_the_grid_once(points):
    shape = (3, 4, 5)
    visits = np.zeros(shape, dtype=int)
    for x, low, high in blocks_of(shape, points):
        assert (high - low) * 5 <= max(points, 5)
        visits[x, low:high] += 1
    assert (visits == 1).all()


def all_rows(pairs):
    x, y = [], []
    for reference, descriptors in pairs:
        with h5py.File(reference) as one, h5py.File(descriptors) as other:
            y.append(one["ldos"][:].reshape(-1, 9))
            x.append(other["descriptors"][:].reshape(-1, 5))
    return np.concatenate(x), np.concatenate(y)


def make_rows(pairs, memory, batch_size=32, seed=7, share=1.0):
    snapshots, _ = describe(pairs)
    return ShuffledRows(snapshots, *measure_scalings(snapshots, 5, 9), batch_size, seed, memory, share)


MEMORIES = {"in memory": 1 << 20, "streamed": 70 * 4 * 14, "smaller than a batch": 1}


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
def test_an_epoch_holds_every_row_once(pairs, memory, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_POINTS", 15)
    rows = make_rows(pairs, memory)
    assert rows.in_memory == (memory == 1 << 20)
    batches = list(rows.epoch(1))
    assert [len(x) for x, _, _ in batches] == [32] * 7 + [16]
    assert rows.batches == 8
    x, y, which = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert np.bincount(which).tolist() == [60, 80, 100]
    expected_x, expected_y = all_rows(pairs)
    snapshots, _ = describe(pairs)
    scalings = measure_scalings(snapshots, 5, 9)
    key = np.argsort(x[:, 2])
    expected_key = np.argsort(expected_x[:, 2])
    np.testing.assert_array_equal(x[key], scalings[0].apply(expected_x)[expected_key])
    np.testing.assert_array_equal(y[key], scalings[1].apply(expected_y)[expected_key])


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
def test_a_share_of_the_points_is_the_same_in_every_epoch(pairs, memory):
    rows = make_rows(pairs, memory, share=0.3)
    first, second = (np.sort(np.concatenate([x for x, _, _ in rows.epoch(epoch)])[:, 2]) for epoch in (1, 2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, np.sort(np.concatenate([x for _, (x, _, _) in rows.in_order()])[:, 2]))
    assert len(first) == rows.points == sum(len(x) for x, _, _ in rows.epoch(3))
    assert rows.batches == len(list(rows.epoch(1)))
    which = np.concatenate([which for _, _, which in rows.epoch(1)])
    # of each of the four planes, which has 15, 20 or 25 points, three tenths rounded up
    assert np.bincount(which).tolist() == [4 * 5, 4 * 6, 4 * 8]
    whole = all_rows(pairs)[0]
    snapshots, _ = describe(pairs)
    assert np.isin(first, measure_scalings(snapshots, 5, 9)[0].apply(whole)[:, 2]).all()


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
def test_the_order_follows_seed_and_epoch(pairs, memory, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_POINTS", 15)

    def order(seed, epoch):
        return np.concatenate([x for x, _, _ in make_rows(pairs, memory, seed=seed).epoch(epoch)])[:, 2]

    np.testing.assert_array_equal(order(7, 3), order(7, 3))
    assert (order(7, 3) != order(7, 4)).mean() > 0.8
    assert (order(7, 3) != order(8, 3)).mean() > 0.8


def test_the_shuffle_mixes_snapshots(pairs, monkeypatch):
    """Every batch of the stream holds rows of several snapshots, whatever the buffer."""
    monkeypatch.setattr(module, "BLOCK_POINTS", 5)
    snapshots, _ = describe(pairs)
    x, _ = all_rows(pairs)
    scaled = measure_scalings(snapshots, 5, 9)[0].apply(x)[:, 2]
    owner = dict(zip(scaled.tolist(), np.repeat([0, 1, 2], [60, 80, 100]), strict=True))
    for memory in MEMORIES.values():
        for batch, _, _ in list(make_rows(pairs, memory).epoch(1))[:-1]:
            assert len({owner[value] for value in batch[:, 2].tolist()}) > 1


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
def test_in_order(pairs, memory):
    rows = make_rows(pairs, memory)
    x = np.concatenate([part for _, (part, _, _) in rows.in_order()])
    snapshots, _ = describe(pairs)
    np.testing.assert_array_equal(x, measure_scalings(snapshots, 5, 9)[0].apply(all_rows(pairs)[0]))


def test_scalings_are_those_of_all_rows(pairs):
    snapshots, _ = describe(pairs)
    x, y = all_rows(pairs)
    scalings = measure_scalings(snapshots, 5, 9)
    np.testing.assert_allclose(scalings[0].mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scalings[0].scale[:4], x.std(axis=0)[:4], rtol=1e-9)
    np.testing.assert_allclose(scalings[1].mean, y.mean(axis=0), rtol=1e-6, atol=1e-12)
    # a constant component, and an energy without states
    assert scalings[0].scale[4] == 1.0
    assert scalings[1].scale[0] == pytest.approx(1e-3 * y.std(axis=0).max(), rel=1e-6)
