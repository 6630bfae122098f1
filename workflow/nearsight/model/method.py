"""How the DFT behind a snapshot dataset was computed, and whether several of them may train one model together.

What changes the physics is refused. What moves energies by less than the error of most models (another version of
Quantum ESPRESSO, another k-set), or cannot be known, is a warning.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from nearsight.datasets import atoms_of, provenance_of, settings_of
from nearsight.errors import InputError
from nearsight.grids.energies import find_energy_zero
from nearsight.grids.kpoints import kpoint_spacing
from nearsight.study.sections import Dft, Ldos

logger = logging.getLogger("nearsight")

#: k-point spacings that differ by less are of the same set: cells strained by 3 % each way differ by 6 %.
SPACING_TOLERANCE = 0.1


@dataclass(frozen=True)
class Method:
    """How one snapshot dataset was computed; None where it does not say.

    energies_eV: of the LDOS, from the cell's energy zero, which energy_zero_eV_A3 gives (grids.energies); kernel: of
    its broadening; valence, sha256: of each element's pseudopotential; kpoint_spacing: largest, in 1/Å; espresso:
    version of Quantum ESPRESSO.
    """

    path: Path
    energies_eV: tuple[float, ...]
    energy_zero_eV_A3: Mapping[str, float]
    broadening_eV: float
    kernel: str
    ecutwfc_Ry: float | None
    ecutrho_Ry: float
    functional: str | None
    valence: Mapping[str, float]
    sha256: Mapping[str, str | None]
    kpoint_spacing: float | None
    kpoints_shift: tuple[int, ...] | None
    espresso: str | None


def read_method(dataset: xr.Dataset, path: Path) -> Method:
    """The method of an open snapshot dataset. Raises InputError where it lacks what a training needs."""
    settings, provenance = settings_of(dataset), provenance_of(dataset)
    broadening_eV = positive_number(settings, "ldos", "broadening_eV", path=path)
    zeros = settings["ldos"].get("energy_zero_eV_A3", {})  # older datasets use Quantum ESPRESSO's zero
    ecutrho_Ry = positive_number(settings, "dft", "ecutrho_Ry", path=path)
    dft, inputs, valence = (
        settings["dft"],
        provenance.get("inputs_sha256", {}),
        find_key(settings, "valence", path=path),
    )
    return Method(
        path=path,
        energies_eV=round_energies(dataset["energy"].values - find_energy_zero(atoms_of(dataset), zeros)),
        energy_zero_eV_A3={element: float(zeros.get(element, 0.0)) for element in valence},
        broadening_eV=broadening_eV,
        kernel=settings["ldos"].get("kernel", "gaussian"),  # datasets that do not name it have this one
        ecutwfc_Ry=dft.get("ecutwfc_Ry"),
        ecutrho_Ry=ecutrho_Ry,
        functional=settings.get("functional"),
        valence=valence,
        sha256={element: inputs.get(f"pseudopotential {element}") for element in valence},
        kpoint_spacing=kpoint_spacing(dataset["cell"].values, dft["kpoints"]) if "kpoints" in dft else None,
        kpoints_shift=tuple(dft["kpoints_shift"]) if "kpoints_shift" in dft else None,
        espresso=provenance.get("programs", {}).get("Quantum ESPRESSO"),
    )


def method_of_study(like: Method, dft: Dft, ldos: Ldos) -> Method:
    """How a study computes snapshots: as these two sections say, and otherwise like a dataset."""
    return replace(
        like,
        path=Path("the study file"),
        energies_eV=round_energies(ldos.grid.energies_eV),
        energy_zero_eV_A3={element: ldos.energy_zero_eV_A3.get(element, 0.0) for element in like.valence},
        broadening_eV=ldos.broadening_eV,
        ecutwfc_Ry=dft.ecutwfc_Ry,
        ecutrho_Ry=dft.ecutrho_Ry,
    )


def round_energies(energies_eV: np.ndarray) -> tuple[float, ...]:
    """Energies of an LDOS, rounded for comparison with others'."""
    return tuple(round(float(energy), 9) for energy in energies_eV)


def require_one_method(methods: Sequence[Method]) -> None:
    """Raise InputError, with both files and the key, where the physics of datasets differs; warn where numbers may."""
    paths = [one.path for one in methods]
    for key, values in (
        ("energies", [_Energies(one.energies_eV) for one in methods]),
        ("ldos.broadening_eV", [one.broadening_eV for one in methods]),
        ("ldos.kernel", [one.kernel for one in methods]),
        ("dft.ecutwfc_Ry", [one.ecutwfc_Ry for one in methods]),
        ("dft.ecutrho_Ry", [one.ecutrho_Ry for one in methods]),
        ("functional", [one.functional for one in methods]),
    ):
        _require_equal(paths, key, values)
    for element in sorted({element for one in methods for element in one.valence}):
        _require_equal(paths, f"valence.{element}", [one.valence.get(element) for one in methods])
        zeros = [one.energy_zero_eV_A3.get(element) for one in methods]
        _require_equal(paths, f"ldos.energy_zero_eV_A3.{element}", zeros)
        those = [one for one in methods if element in one.valence]
        paths_of, sums = [one.path for one in those], [one.sha256[element] for one in those]
        key = f"SHA-256 of the pseudopotential of {element}"
        _require_equal(paths_of, key, sums)
        stated = ["stated" if one else "not stated" for one in sums]
        _warn_if_different(paths_of, key, stated, "Make sure that it is the same one.")
    _warn_if_different(
        paths,
        "version of Quantum ESPRESSO",
        [one.espresso or "not stated" for one in methods],
        "Versions may differ in total energies: compute one structure with both, or all references with one.",
    )
    known = [one for one in methods if one.kpoint_spacing is not None]
    _warn_if_different(
        [one.path for one in known],
        "k-points",
        [_describe_kpoints(one, known[0]) for one in known],
        "Energies of different k-sets differ by meV/atom, which a model mistakes for physics.",
    )


class _Energies(tuple):
    """Energies of an LDOS, shown by their number and ends."""

    def __str__(self) -> str:
        return f"{len(self)} from {self[0]} to {self[-1]} eV"


def _require_equal(paths: Sequence[Path], key: str, values: Sequence[object]) -> None:
    """Raise InputError unless all that state a value (not None) state the same."""
    known = [(path, value) for path, value in zip(paths, values, strict=True) if value is not None]
    for path, value in known[1:]:
        if value != known[0][1]:
            raise InputError(
                f"{path}: {key}: expected {known[0][1]} as in {known[0][0]}, got {value}. All snapshots of a training "
                "need the same physics: compute this one again with the others' settings, or leave it out."
            )


def _warn_if_different(paths: Sequence[Path], key: str, values: Sequence[str], advice: str) -> None:
    """One warning, which names the first file and the first that differs from it."""
    others = [(path, value) for path, value in zip(paths, values, strict=True) if value != values[0]]
    if others:
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        logger.warning("%s%s: %s: %s; %s: %s. %s", *others[0][:1], more, key, others[0][1], paths[0], values[0], advice)


def _describe_kpoints(one: Method, first: Method) -> str:
    """The k-point grid's spacing, that of the first where it is the same set, and its shift."""
    ratio = one.kpoint_spacing / first.kpoint_spacing
    same = 1 / (1 + SPACING_TOLERANCE) < ratio < 1 + SPACING_TOLERANCE
    spacing = first.kpoint_spacing if same else one.kpoint_spacing
    shift = " ".join(map(str, one.kpoints_shift or ("unknown",)))
    return f"spacing {spacing:.3f} 1/Å, shift {shift}"


def find_key(settings: Mapping, *keys: str, path: Path) -> object:
    """A value inside a dataset's settings. Raises InputError where there is none."""
    value: object = settings
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            raise InputError(f"{path}: settings.{'.'.join(keys)}: expected it in the dataset's settings, found none.")
        value = value[key]
    return value


def positive_number(settings: Mapping, *keys: str, path: Path) -> float:
    """A positive number inside a dataset's settings. Raises InputError for anything else."""
    value = find_key(settings, *keys, path=path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(
            f"{path}: settings.{'.'.join(keys)}: expected a positive number, got {value!r}. Models are trained on an "
            "LDOS of known broadening, temperature and cutoff: compute the reference with them."
        )
    return float(value)
