"""Compute the errors of a prediction against DFT, beside those of trivial predictors and of the method itself."""

import argparse
import logging
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import xarray as xr

from nearsight.datasets import atoms_of, open_dataset, require, settings_of
from nearsight.errors import InputError
from nearsight.evaluation.errors import evaluate_fields
from nearsight.evaluation.labels import measure_floors
from nearsight.files import read_json, write_json
from nearsight.grids.regions import Region
from nearsight.jobs import add_model_options, make_parser, run_job
from nearsight.ldos import EnergyGrid, dos_from_ldos, integrate_dos
from nearsight.memory import check_memory, evaluation_bytes
from nearsight.model.bundle import ModelBundle, load_bundle

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--name", required=True, help="name of the structure in tables and figures")
    parser.add_argument("--role", required=True, help="train, validation or test")
    parser.add_argument("--prediction", type=Path, required=True, help="prediction (HDF5)")
    parser.add_argument("--batches", type=Path, nargs="+", required=True, help="its batches, with LDOS, in order")
    parser.add_argument("--reference", type=Path, required=True, help="snapshot dataset of DFT (HDF5)")
    add_model_options(parser)
    parser.add_argument("--energies", type=Path, required=True, help="energies of the prediction (JSON)")
    parser.add_argument("--reference-energies", type=Path, required=True, help="energies of the reference LDOS (JSON)")
    parser.add_argument("--output", type=Path, required=True, help="errors (JSON)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Compare LDOS, density, DOS, Fermi level and band energy; write the table of errors."""
    model = load_bundle(arguments.model, arguments.weights)
    with ExitStack() as stack:
        prediction = stack.enter_context(open_dataset(arguments.prediction))
        reference = stack.enter_context(open_dataset(arguments.reference))
        batches = [stack.enter_context(open_dataset(path)) for path in arguments.batches]
        for batch, path in zip(batches, arguments.batches, strict=True):
            require(batch, "ldos", path=path)
        check_same_structure(prediction, reference, arguments)
        settings = settings_of(prediction)
        conditions = {key: settings[key] for key in ("electrons", "temperature_K", "broadening_eV")}
        grid = EnergyGrid.from_energies(reference["energy"].values)
        atoms = atoms_of(reference)
        points, energies = reference["density"].size, reference.sizes["energy"]
        check_memory("evaluate_prediction", evaluation_bytes(points, energies), arguments.memory_MB)
        reference_ldos = reference["ldos"].values
        reference_dos = dos_from_ldos(reference_ldos, atoms.get_volume() / points)
        fields = evaluate_fields(
            join_ldos(batches, reference_ldos.shape),
            prediction["density"].values,
            reference_ldos,
            reference["density"].values,
            model.ldos_scaling.mean,
            grid,
            **conditions,
            volume_A3=atoms.get_volume(),
        )
        from_ldos = integrate_dos(reference_dos, grid, **conditions)
        per_atom = 1e3 / len(atoms)  # eV to meV/atom
        known = settings.get("broadening_error_eV_per_atom", 0.0)
        band = {
            "dft": float(reference["band_energy"]),
            "reference_ldos": from_ldos.band_energy_eV,
            "prediction": float(prediction["band_energy"]),
            "mean_energy": mean_energy(model, "band_energy", arguments.model) * len(atoms),
        }
        free = {
            "dft": float(reference["total_free_energy"]),
            # less what a prediction subtracts, so that the network's error is the network's alone
            "reference_ldos": read_json(arguments.reference_energies)["energies_eV"]["total"] - known * len(atoms),
            "prediction": read_json(arguments.energies)["energies_eV"]["total"],
            "mean_energy": mean_energy(model, "total_free_energy", arguments.model) * len(atoms),
        }
        level = {
            "dft": float(reference["fermi_energy"]),
            "reference_ldos": from_ldos.fermi_energy_eV,
            "prediction": float(prediction["fermi_energy"]),
        }
        result = {
            "name": arguments.name,
            "role": arguments.role,
            "atoms": len(atoms),
            "fields": {predictor: asdict(errors) for predictor, errors in fields.items()},
            "fermi_energy_eV": level,
            "fermi_energy_error_meV": {
                "network": 1e3 * (level["prediction"] - level["reference_ldos"]),
                "method": 1e3 * (level["reference_ldos"] - level["dft"]),
                "total": 1e3 * (level["prediction"] - level["dft"]),
            },
            "band_energy_eV": band,
            "band_energy_error_meV_per_atom": {
                "network": per_atom * (band["prediction"] - band["reference_ldos"]),
                "method": per_atom * (band["reference_ldos"] - band["dft"]),
                "total": per_atom * (band["prediction"] - band["dft"]),
                "mean_energy": per_atom * (band["mean_energy"] - band["dft"]),
            },
            "total_free_energy_eV": free,
            "total_free_energy_error_meV_per_atom": {
                "network": per_atom * (free["prediction"] - free["reference_ldos"]),
                "method": per_atom * (free["reference_ldos"] - free["dft"]),
                "total": per_atom * (free["prediction"] - free["dft"]),
                "mean_energy": per_atom * (free["mean_energy"] - free["dft"]),
            },
            "label_floor_meV_per_atom": describe_floors(reference, arguments.reference, free["reference_ldos"]),
            "entropy_energy_error_meV_per_atom": {
                "network": per_atom * (float(prediction["entropy_energy"]) - from_ldos.entropy_energy_eV),
                "method": per_atom * (from_ldos.entropy_energy_eV - float(reference["entropy_energy"])),
            },
        }
    write_json(arguments.output, result)
    logger.info(
        "%s: LDOS %.2f %% (mean LDOS %.1f %%), density %.2f %% (%.1f %%), total free energy %+.2f meV/atom",
        arguments.name, fields["network"].ldos_percent, fields["mean_ldos"].ldos_percent,
        fields["network"].density_mape_percent, fields["mean_ldos"].density_mape_percent,
        result["total_free_energy_error_meV_per_atom"]["total"],
    )  # fmt: skip


def describe_floors(reference: xr.Dataset, path: Path, ldos_energy_eV: float) -> dict[str, float]:
    """What the reference's approximations leave uncertain in its energy, and the sum, meV/atom (`nearsight check`)."""
    floors = measure_floors(reference, path, ldos_energy_eV)
    known = {name: value for name, value in asdict(floors).items() if value is not None}
    return {**known, "total": floors.total}


def join_ldos(batches: list[xr.Dataset], shape: tuple[int, ...]) -> np.ndarray:
    """The LDOS of the whole grid from that of the batches."""
    ldos = np.empty(shape, dtype=np.float32)
    for batch in batches:
        ldos[Region(*settings_of(batch)["region"]).slices()] = batch["ldos"].values
    return ldos


def mean_energy(model: ModelBundle, name: str, path: Path) -> float:
    """The training set's mean energy in eV per atom. Raises InputError where the bundle has none."""
    try:
        return model.training[f"mean_{name}_eV_per_atom"]
    except KeyError:
        raise InputError(
            f"{path}: training.mean_{name}_eV_per_atom: expected it, found none. Train on snapshots with energies."
        ) from None


def check_same_structure(prediction: xr.Dataset, reference: xr.Dataset, arguments: argparse.Namespace) -> None:
    """Raise InputError unless prediction and reference are of one structure, grid and energies."""
    for name, tolerance in (("cell", 1e-6), ("positions", 1e-6), ("energy", 1e-6)):
        ours, theirs = prediction[name].values, reference[name].values
        if ours.shape != theirs.shape or np.abs(ours - theirs).max() > tolerance:
            raise InputError(
                f"{arguments.prediction}: {name}: expected that of {arguments.reference}, got another. Predict the "
                f"reference's own structure."
            )
    if prediction["density"].shape != reference["density"].shape:
        raise InputError(
            f"{arguments.prediction}: expected the grid {reference['density'].shape} of {arguments.reference}, got "
            f"{prediction['density'].shape}."
        )


if __name__ == "__main__":
    run_job(main, parse_arguments())
