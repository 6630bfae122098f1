"""Large structures: stacking faults, and displacements so that no part repeats."""

import numpy as np
from ase import Atoms

from nearsight.errors import InputError
from nearsight.structures.checks import check_structure

#: Layers of the fault: three of one stacking sequence, moved together.
FAULT_LAYERS = 3

#: Largest distance of an atom from its layer's plane, in layer spacings, at which layers can be told apart.
LARGEST_CORRUGATION = 0.4


def add_stacking_fault(atoms: Atoms, lattice_a_A: float, layer_spacing_A: float, first_layer: int) -> Atoms:
    """Hexagonal layers of an hcp crystal with three of them, from `first_layer` on, shifted by a/√3 along y.

    atoms: a repetition of the orthorhombic cell (x along a, y along a√3, layers normal to z), also a displaced one.
    B lies at A - a/√3 and C at A + a/√3. Where the first layer is of kind A the shift is +a/√3, A → C and B → A; where
    it is B the shift is -a/√3, B → C and A → B: ...BABAB... becomes ...BCACB..., with no neighbouring layers alike.

    Raises InputError where layers cannot be told apart, first_layer is not one of them, there are fewer than
    six, or atoms come to overlap.
    """
    kinds = stacking_sequence(atoms, lattice_a_A, layer_spacing_A)
    if len(kinds) < 2 * FAULT_LAYERS or not 0 <= first_layer < len(kinds):
        raise InputError(
            f"stacking fault: expected at least {2 * FAULT_LAYERS} layers and the first one's number among them, got "
            f"{len(kinds)} layers and {first_layer}. Repeat the cell along its third vector."
        )
    if set(kinds) - set("AB"):
        raise InputError(f"stacking fault: expected an hcp crystal (ABAB...), got the layers {kinds}.")
    moved = [(first_layer + i) % len(kinds) for i in range(FAULT_LAYERS)]
    sign = 1 if kinds[first_layer] == "A" else -1
    result = atoms.copy()
    chosen = np.isin(layer_numbers(atoms, layer_spacing_A)[0], moved)
    result.positions[chosen, 1] += sign * lattice_a_A / np.sqrt(3)
    after = stacking_sequence(result, lattice_a_A, layer_spacing_A)
    if any(one == other for one, other in zip(after, after[1:] + after[:1], strict=True)):
        raise InputError(f"stacking fault: expected no neighbouring layers alike, got {after}.")
    check_structure(result, "stacking fault")
    return result


def layers_of(crystal: Atoms) -> tuple[float, float]:
    """Lattice constant a and spacing of the layers, in Å, of an hcp crystal's orthorhombic cell of four atoms."""
    return float(crystal.cell[0, 0]), float(crystal.cell[2, 2]) / 2


def stacking_sequence(atoms: Atoms, lattice_a_A: float, layer_spacing_A: float) -> str:
    """The kinds of the layers along z, such as ABAB; the first layer is A, B is -a/√3 and C +a/√3 along y from it.

    Raises InputError where a layer is none of the three.
    """
    numbers, count = layer_numbers(atoms, layer_spacing_A)
    step = lattice_a_A / np.sqrt(3)
    # a layer's rows repeat every a√3/2 along y with x alternating by a/2: the phase of (x, y) in the rectangular cell
    # of two atoms gives the kind
    phases = np.exp(2j * np.pi * (atoms.positions[:, 0] / lattice_a_A + atoms.positions[:, 1] / (3 * step)))
    means = np.array([phases[numbers == i].mean() for i in range(count)])
    offsets = np.mod(np.angle(means / means[0]) / (2 * np.pi) * 3 + 0.5, 3)
    kinds = "".join("ACB"[int(offset)] for offset in offsets)
    if np.abs(np.mod(offsets, 1) - 0.5).max() > LARGEST_CORRUGATION or np.abs(means).min() < 0.2:
        raise InputError(f"stacking: expected layers A, B or C of a crystal with a = {lattice_a_A:.3f} Å, got others.")
    return kinds


def layer_numbers(atoms: Atoms, layer_spacing_A: float) -> tuple[np.ndarray, int]:
    """Number of each atom's layer along z, from 0, and how many there are. Raises InputError where it is not clear."""
    cell = np.asarray(atoms.cell)
    count = round(cell[2, 2] / layer_spacing_A)
    straight = np.abs(cell - np.diag(np.diag(cell))).max() < 1e-6
    if not straight or count < 1 or abs(cell[2, 2] / count - layer_spacing_A) > 0.1 * layer_spacing_A:
        raise InputError(
            f"layers: expected a rectangular cell whose height is a multiple of {layer_spacing_A:.3f} Å, got "
            f"{cell.round(3).tolist()} Å."
        )
    heights = atoms.positions[:, 2] / cell[2, 2] * count
    origin = np.angle(np.exp(2j * np.pi * heights).mean()) / (2 * np.pi)
    numbers = np.rint(heights - origin)
    if np.abs(heights - origin - numbers).max() > LARGEST_CORRUGATION:
        raise InputError("layers: expected atoms near planes normal to z, got some between two planes.")
    return numbers.astype(int) % count, count


def displace_independently(atoms: Atoms, deviation_A: float, seed: int) -> Atoms:
    """A copy in which each atom is displaced by a Gaussian of its own, of `deviation_A` along each axis."""
    if not (np.isfinite(deviation_A) and deviation_A >= 0):
        raise InputError(f"displacement_A: expected a length of 0 or more in Å, got {deviation_A}.")
    result = atoms.copy()
    result.positions += np.random.default_rng(seed).normal(scale=deviation_A, size=atoms.positions.shape)
    check_structure(result, "displaced structure")
    return result
