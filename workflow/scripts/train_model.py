"""Train the network from descriptors to LDOS and write the model bundle.

A training that was stopped resumes from its checkpoint; the checkpoint is removed when the bundle is written.
"""

import argparse
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from nearsight.datasets import atoms_of, open_dataset
from nearsight.descriptors.interface import make_descriptor
from nearsight.energies.continuation import SHARES, sampling_losses, smallest_cutoff
from nearsight.energies.double_counting import double_counting_potential
from nearsight.energies.method import functional_of
from nearsight.energies.screening import (
    LONG_WAVE_A,
    Response,
    fit_wave_vector,
    measure_response,
    states_at,
    thomas_fermi_wave_vector,
)
from nearsight.errors import InputError
from nearsight.jobs import make_parser, run_job
from nearsight.ldos import find_fermi_level
from nearsight.memory import check_memory, training_bytes
from nearsight.model.broadening import measure_broadening_errors
from nearsight.model.bundle import ModelBundle, save_bundle
from nearsight.model.data import (
    MEMORY_BYTES,
    DataDescription,
    ShuffledRows,
    Snapshot,
    count_chosen,
    describe_snapshots,
    measure_scalings,
    radial_distributions,
    sample_field,
)
from nearsight.model.domain import SAMPLES, TrainingDomain, density_range, measure_domain
from nearsight.model.last_layer import (
    ErrorBars,
    calibrate_bars,
    count_errors,
    energy_rows,
    head_of,
    measure_features,
    refit_layer,
)
from nearsight.model.network import LdosNetwork, build_network
from nearsight.model.projections import EnergyWeights, energy_weights, measure_dos, projection_spread
from nearsight.model.scaling import Scaling
from nearsight.model.training import train, write_history
from nearsight.mpi import check_ranks, on_rank_0, run_parallel_job, world
from nearsight.provenance import collect_provenance, hash_settings
from nearsight.reference.espresso.options import add_pseudopotential_option, pseudopotentials_of
from nearsight.reference.pseudopotential import Pseudopotential, select_pseudopotentials
from nearsight.study.sections import Training

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

logger = logging.getLogger("nearsight")


def parse_arguments() -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    for role in ("train", "validation"):
        parser.add_argument(f"--{role}-reference", type=Path, nargs="+", required=True, help="snapshot datasets (HDF5)")
        parser.add_argument(
            f"--{role}-descriptors", type=Path, nargs="+", required=True, help="their descriptors, in the same order"
        )
    add_pseudopotential_option(parser)
    parser.add_argument("--settings", required=True, help="JSON: the section `training`")
    parser.add_argument("--seed", type=int, required=True, help="seed of initial weights and shuffles")
    parser.add_argument("--ranks", type=int, default=1, help="number of MPI ranks that the job was promised")
    parser.add_argument("--threads", type=int, default=1, help="threads of each rank (PyTorch)")
    parser.add_argument("--checkpoint", type=Path, required=True, help="state after each epoch, to resume from")
    parser.add_argument("--weights", type=Path, required=True, help="model bundle, safetensors part")
    parser.add_argument("--bundle", type=Path, required=True, help="model bundle, JSON part")
    parser.add_argument("--history", type=Path, required=True, help="losses of each epoch (CSV)")
    return parser.parse_args()


def main(arguments: argparse.Namespace) -> None:
    """Check the data, measure the scalings, train, write."""
    settings = Training.from_json(arguments.settings)
    if arguments.threads < 1 or arguments.seed < 0:
        raise InputError(f"--threads, --seed: expected at least 1 and 0, got {arguments.threads} and {arguments.seed}.")
    torch.set_num_threads(arguments.threads)
    comm = world() if arguments.ranks > 1 else None
    if comm is not None:
        on_rank_0(comm, lambda: check_ranks(comm, arguments.ranks))
    started = time.perf_counter()
    count = len(arguments.train_reference)
    snapshots, data = describe_snapshots(
        [*arguments.train_reference, *arguments.validation_reference],
        [*arguments.train_descriptors, *arguments.validation_descriptors],
    )
    if count != len(arguments.train_descriptors):
        raise InputError(
            f"--train-descriptors: expected {count} files, one per --train-reference, got "
            f"{len(arguments.train_descriptors)}."
        )
    pseudopotentials = pseudopotentials_of(arguments)
    texts = texts_of(pseudopotentials, data)
    network = build_network(settings.network, data.components, data.energy_grid.count, arguments.seed)
    parts = snapshots[:count], snapshots[count:]
    shares = settings.points_share, 1.0
    points = [sum(count_chosen(one.shape, share) for one in part) for part, share in zip(parts, shares, strict=True)]
    row_bytes, tensors = 4 * (data.components + data.energy_grid.count + 1), [p.shape for p in network.parameters()]
    needed = training_bytes(points, row_bytes, tensors, settings.batch_size, MEMORY_BYTES)
    check_memory("train_model", needed, arguments.memory_MB and arguments.memory_MB / arguments.ranks, arguments.ranks)
    # what reads whole files or all points is done once, not by every rank
    scalings = on_rank_0(comm, lambda: measure_scalings(parts[0], data.components, data.energy_grid.count))
    rows = [
        ShuffledRows(part, *scalings, settings.batch_size, arguments.seed, MEMORY_BYTES, share)
        for part, share in zip(parts, shares, strict=True)
    ]
    responses = on_rank_0(comm, lambda: [response_of(snapshot, data) for snapshot in parts[0]])
    screening_k_A = on_rank_0(comm, lambda: fit_screening(responses))
    ecut_sample_Ry = on_rank_0(comm, lambda: choose_sampling(parts[0], data))
    broadening_errors = on_rank_0(comm, lambda: measure_broadening_errors(parts[0], data.broadening_eV))
    weights = None
    if settings.projection_loss > 0 or settings.refit_last_layer or settings.error_bars:
        spectra = on_rank_0(comm, lambda: [measure_dos(part) for part in parts])
        # of the scaled LDOS
        weights = [
            energy_weights(part, data, dos).scaled(scalings[1].scale) for part, dos in zip(parts, spectra, strict=True)
        ]
    logger.info(
        "%d training points (%s), %d validation points, %d components, %d energies; prepared in %.1f s",
        rows[0].points,
        "kept in memory" if rows[0].in_memory else "streamed from the files",
        rows[1].points,
        data.components,
        data.energy_grid.count,
        time.perf_counter() - started,
    )
    domain = on_rank_0(comm, lambda: describe_domain(*parts, data, arguments.seed))
    roles = ["train"] * count + ["validation"] * (len(snapshots) - count)
    inputs = {
        f"{role} {path}": path
        for role, snapshot in zip(roles, snapshots, strict=True)
        for path in (snapshot.reference, snapshot.descriptors)
    }
    described = {**settings.model_dump(), "seed": arguments.seed}
    provenance = on_rank_0(comm, lambda: collect_provenance("training", described, inputs))
    determining = ("stage_version", "settings", "inputs_sha256", "libraries")
    result = train(
        settings,
        network,
        *rows,
        projections=weights and in_units_of_spread(weights, parts[0], scalings[1], arguments.seed),
        identity=hash_settings({key: provenance[key] for key in determining}),
        checkpoint=arguments.checkpoint,
        history=arguments.history,
        comm=comm,
    )
    network.cpu().load_state_dict(result.weights)
    if settings.points_share < 1:  # means over whole snapshots, which are streamed
        rows[0] = ShuffledRows(parts[0], *scalings, settings.batch_size, arguments.seed, memory_bytes=0)
    error_bars = finish_network(settings, network, rows, weights, responses, data, pseudopotentials, comm)
    if comm is not None and comm.rank > 0:
        return
    bundle = ModelBundle(
        network=network,
        network_settings=settings.network,
        descriptor_scaling=scalings[0],
        ldos_scaling=scalings[1],
        descriptor_settings=data.descriptor_settings,
        energy_grid=data.energy_grid,
        energy_zero_eV_A3=data.energy_zero_eV_A3,
        broadening_eV=data.broadening_eV,
        temperature_K=data.temperature_K,
        elements=data.elements,
        electrons_per_element=data.electrons_per_element,
        pseudopotentials=texts,
        ecutrho_Ry=data.ecutrho_Ry,
        domain=domain,
        error_bars=error_bars,
        screening_k_A=screening_k_A,
        ecut_sample_Ry=ecut_sample_Ry,
        broadening_errors=broadening_errors,
        training={
            **mean_energies(snapshots[:count]),
            **density_range([snapshot.atoms / snapshot.volume_A3 for snapshot in snapshots[:count]]),
            "epochs": result.state.epoch,
            "best_epoch": result.state.best_epoch,
            "validation_loss": result.state.best_loss,
            "seconds": sum(row[-1] for row in result.state.history),
            "ranks": arguments.ranks,
            "threads": arguments.threads,
        },
        provenance=provenance,
    )
    write_history(arguments.history, result.state)
    save_bundle(bundle, arguments.bundle, arguments.weights)
    arguments.checkpoint.unlink(missing_ok=True)
    logger.info("written: %s, %s", arguments.weights, arguments.bundle)


def in_units_of_spread(
    weights: list[EnergyWeights], training: list[Snapshot], scaling: Scaling, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Projections of the scaled LDOS for the loss, of the training and the validation snapshots."""
    projections = [part.projections for part in weights]
    spread = projection_spread(training, projections[0] / scaling.scale[:, None], seed)
    return projections[0] / spread, projections[1] / spread


def finish_network(
    settings: Training,
    network: LdosNetwork,
    rows: list[ShuffledRows],
    weights: list[EnergyWeights] | None,
    responses: list[Response | None],
    data: DataDescription,
    pseudopotentials: dict[str, Pseudopotential],
    comm: "Comm | None",
) -> ErrorBars | None:
    """Solve for the last layer where the settings say so, and then measure the network's error bars.

    responses: of the training snapshots.
    """
    if not (settings.refit_last_layer or settings.error_bars):
        return None
    others = on_rank_0(comm, lambda: [response_of(snapshot, data) for snapshot in rows[1].snapshots])
    moments = []
    for part, found in zip(rows, (responses, others), strict=True):
        potentials = on_rank_0(
            comm, lambda part=part, found=found: potentials_of(part.snapshots, found, data, pseudopotentials)
        )
        moments.append(measure_features(network, part, potentials, torch.device("cpu"), comm))
    energies = [energy_rows(*pair) for pair in zip(moments, weights, strict=True)]
    if settings.refit_last_layer:
        refit_layer(network, moments[0].gram, *energies)
    if not settings.error_bars:
        return None
    layer = head_of(network)
    errors = [count_errors(moments[1], layer, weights[1].count), energies[1].errors(layer)]
    return calibrate_bars(*moments, np.stack(errors, axis=1))


def potentials_of(
    snapshots: list[Snapshot],
    responses: list[Response | None],
    data: DataDescription,
    pseudopotentials: dict[str, Pseudopotential],
) -> list[np.ndarray | None]:
    """How each snapshot's energy feels errors of its density, on its grid in eV; None where that is not known.

    responses: of the snapshots; long waves of one that has such a response are not the model's (energies.screening).
    """
    try:
        functional_of(select_pseudopotentials(data.elements, pseudopotentials))
    except InputError as error:  # as of PAW, for which predictions have no total free energy either
        logger.warning("last layer: it is fitted to band energies and entropies alone. %s", error)
        return [None] * len(snapshots)
    found = []
    for snapshot, response in zip(snapshots, responses, strict=True):
        with open_dataset(snapshot.reference) as reference:
            if "density" not in reference:
                logger.warning("last layer: %s has no density; its energy is fitted without", snapshot.reference)
                found.append(None)
                continue
            atoms, density = atoms_of(reference), reference["density"].values
        found.append(
            double_counting_potential(
                density, atoms, pseudopotentials, data.ecutrho_Ry, screened=response is not None
            ).astype(np.float32)
        )
    return found


def texts_of(pseudopotentials: dict[str, Pseudopotential], data: DataDescription) -> dict[str, str]:
    """Element -> text of the UPF file. Raises InputError where it is not the one that the reference was made with."""
    chosen = select_pseudopotentials(data.electrons_per_element, pseudopotentials)
    for element, found in chosen.items():
        expected = data.pseudopotential_sha256[element]
        if found.sha256 != (expected or found.sha256) or found.valence != data.electrons_per_element[element]:
            raise InputError(
                f"{found.path}: expected the pseudopotential of the snapshots, SHA-256 {expected or 'not stated'} with "
                f"{data.electrons_per_element[element]:g} electrons, got {found.sha256} with {found.valence:g}. Give "
                "the one of the reference."
            )
    return {element: found.text for element, found in chosen.items()}


def mean_energies(snapshots: list[Snapshot]) -> dict[str, float]:
    """The training set's mean energies in eV per atom, where it has them: the trivial predictor."""
    found: dict[str, list[float]] = {"band_energy": [], "total_free_energy": []}
    for snapshot in snapshots:
        with open_dataset(snapshot.reference) as reference:
            for name in found:
                if name in reference:
                    found[name].append(float(reference[name]) / reference.sizes["atom"])
    return {f"mean_{name}_eV_per_atom": sum(values) / len(values) for name, values in found.items() if values}


def fit_screening(responses: list[Response | None]) -> float | None:
    """The k in 1/Å by which the training cells' electrons follow long waves; None where no cell has them."""
    found = [one for one in responses if one is not None]
    if not found:
        logger.info(
            "screening: no training snapshot is a metal with waves longer than %g Å; predictions use the "
            "Thomas-Fermi response", LONG_WAVE_A,
        )  # fmt: skip
        return None
    k = fit_wave_vector(found)
    logger.info(
        "screening: k = %.3f 1/Å from %d snapshots with waves longer than %g Å (prior: Thomas-Fermi, %.3f)",
        k, len(found), LONG_WAVE_A, thomas_fermi_wave_vector(float(np.mean([one.mean for one in found]))),
    )  # fmt: skip
    return k


def response_of(snapshot: Snapshot, data: DataDescription) -> Response | None:
    """How the DFT density of a snapshot follows long waves of the ions; None where it has none, or it is not known."""
    with open_dataset(snapshot.reference) as reference:
        if "density" not in reference or "dos" not in reference:
            return None
        dos, conditions = reference["dos"].values, (snapshot.temperature_K, data.broadening_eV)
        level = find_fermi_level(dos, data.energy_grid, snapshot.electrons, *conditions)
        states = states_at(level, dos, data.energy_grid, snapshot.temperature_K)
        return measure_response(reference["density"], atoms_of(reference), data.electrons_per_element, states)


def choose_sampling(snapshots: list[Snapshot], data: DataDescription) -> float | None:
    """Cutoff in Ry of the grid on which predictions need to be sampled; None where no snapshot has a density."""
    losses = []
    for snapshot in snapshots:
        with open_dataset(snapshot.reference) as reference:
            if "density" in reference:
                losses.append(sampling_losses(reference["density"], reference["cell"].values, data.ecutrho_Ry))
    if not losses:
        return None
    worst, cutoff = np.max(losses, axis=0), smallest_cutoff(np.array(losses), data.ecutrho_Ry)
    tried = (f"{share * data.ecutrho_Ry:g} Ry {100 * loss:.3f} %" for share, loss in zip(SHARES, worst, strict=True))
    logger.info(
        "sampling: predictions use a grid of %g Ry (the density's: %g Ry); errors of coarser grids on the training "
        "densities: %s",
        cutoff, data.ecutrho_Ry, ", ".join(tried),
    )  # fmt: skip
    return cutoff


def describe_domain(
    training: list[Snapshot], validation: list[Snapshot], data: DataDescription, seed: int
) -> TrainingDomain:
    """What the training set looks like, calibrated on the validation set."""
    cutoff_A = make_descriptor(data.descriptor_settings, data.elements).cutoff_A
    return measure_domain(
        sample_field(training, "descriptors", SAMPLES, seed),
        sample_field(validation, "descriptors", SAMPLES, seed),
        radial_distributions(training, cutoff_A),
        radial_distributions(validation, cutoff_A),
        cutoff_A,
        seed,
    )


if __name__ == "__main__":
    arguments = parse_arguments()
    run = run_parallel_job if arguments.ranks > 1 else run_job  # which needs no MPI library
    run(main, arguments)
