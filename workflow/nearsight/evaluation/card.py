"""The card of a model from the files of its study: bundle, reference datasets and evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.formula import Formula

from nearsight.datasets import atoms_of, open_dataset, provenance_of, require, settings_of
from nearsight.errors import InputError
from nearsight.files import read_json, sha256_of
from nearsight.model.bundle import ModelBundle, load_bundle
from nearsight.model.domain import REFUSAL_SCORE, WARNING_SCORE
from nearsight.models.card import Card, DftCard, DomainCard, LdosCard, PseudopotentialCard, Spread, StateCard
from nearsight.reference.pseudopotential import parse_pseudopotential
from nearsight.structures.builders import mass_density

#: What the card says of the training, out of all that the bundle records.
TRAINING_KEYS = ("epochs", "best_epoch", "validation_loss")


@dataclass(frozen=True)
class EvaluatedSnapshot:
    """A snapshot's structure, what it was computed with, and the errors on it (evaluate_prediction's JSON)."""

    name: str
    atoms: Atoms
    settings: dict
    program: str
    errors: dict

    @property
    def state(self) -> str:
        """The state that the snapshot belongs to: the trajectory that it was taken from."""
        return self.name.rpartition("-")[0] or self.name


def read_snapshot(reference: Path, evaluation: Path) -> EvaluatedSnapshot:
    """A snapshot of a study by its two files. Raises InputError where they are not of the same one."""
    errors = read_json(evaluation)
    with open_dataset(reference) as dataset:
        require(dataset, "cell", "positions", "atomic_numbers", path=reference)
        atoms, settings = atoms_of(dataset), settings_of(dataset)
        programs = provenance_of(dataset).get("programs", {})
    if errors.get("name") != reference.stem or errors.get("atoms") != len(atoms):
        raise InputError(
            f"{evaluation}: expected the errors on {reference.stem} with {len(atoms)} atoms, got those on "
            f"{errors.get('name')} with {errors.get('atoms')}. Run the rule evaluate_prediction again."
        )
    program = ", ".join(f"{name} {version}" for name, version in programs.items()) or "not recorded"
    return EvaluatedSnapshot(reference.stem, atoms, settings, program, errors)


def make_card(study: str, bundle: Path, weights: Path, snapshots: Sequence[EvaluatedSnapshot]) -> Card:
    """The card of a study's model, under the study's name and without a licence.

    Raises InputError where the snapshots were not computed with the same settings, which no reader of a card expects.
    """
    model = load_bundle(bundle, weights)
    return Card(
        name=study,
        licence=None,
        elements=list(model.elements),
        study=study,
        nearsight=str(model.provenance.get("nearsight", "not recorded")),
        files={path.name: sha256_of(path) for path in (bundle, weights)},
        weights_bytes=weights.stat().st_size,
        electron_temperature_K=model.temperature_K,
        dft=describe_dft(model, snapshots),
        ldos=LdosCard(
            energy_min_eV=model.energy_grid.minimum_eV,
            energy_max_eV=round(model.energy_grid.maximum_eV, 6) + 0.0,  # no -1e-15, nor -0
            spacing_eV=model.energy_grid.spacing_eV,
            broadening_eV=model.broadening_eV,
            energy_zero_eV_A3=model.energy_zero_eV_A3,
        ),
        descriptors=dict(model.descriptor_settings),
        network=model.network_settings.model_dump(),
        training={key: model.training[key] for key in TRAINING_KEYS if key in model.training},
        domain=DomainCard(warning_score=WARNING_SCORE, refusal_score=REFUSAL_SCORE, cutoff_A=model.domain.rdf_cutoff_A),
        states=describe_states(snapshots),
    )


def describe_dft(model: ModelBundle, snapshots: Sequence[EvaluatedSnapshot]) -> DftCard:
    """The settings that all snapshots share, and the k-points of each size."""
    shared: dict[str, object] = {}
    for snapshot in snapshots:
        facts = {key: snapshot.settings["dft"][key] for key in ("ecutwfc_Ry", "ecutrho_Ry", "kpoints_shift")}
        for key, value in {**facts, "program": snapshot.program}.items():
            if shared.setdefault(key, value) != value:
                raise InputError(
                    f"{snapshot.name}: {key}: expected {shared[key]} as in {snapshots[0].name}, got {value}. A model's "
                    "card describes one kind of DFT: compute the snapshot again."
                )
    kpoints = {
        f"{' x '.join(map(str, one.settings['dft']['kpoints']))} ({len(one.atoms)} atoms)": None
        for one in sorted(snapshots, key=lambda one: len(one.atoms))
    }
    return DftCard(
        **shared,
        kpoints=list(kpoints),
        conv_thr_Ry=max(one.settings["dft"]["conv_thr_Ry"] for one in snapshots),
        pseudopotentials={
            element: PseudopotentialCard(
                functional=found.functional, kind=found.kind, valence=found.valence, sha256=found.sha256
            )
            for element, text in model.pseudopotentials.items()
            for found in [parse_pseudopotential(text.encode(), f"pseudopotential of {element}", element)]
        },
    )


def describe_states(snapshots: Sequence[EvaluatedSnapshot]) -> list[StateCard]:
    """Errors by state: snapshots of one trajectory and role, which are of one size and temperature."""
    groups: dict[tuple, list[EvaluatedSnapshot]] = {}
    for one in snapshots:
        key = (one.state, one.errors["role"], len(one.atoms), one.settings["temperature_K"])
        groups.setdefault(key, []).append(one)
    cards = []
    for (state, role, atoms, temperature_K), members in groups.items():
        errors = [one.errors for one in members]
        fields = [one["fields"]["network"] for one in errors]
        cards.append(
            StateCard(
                name=state,
                role=role,
                snapshots=len(members),
                formula=Formula(members[0].atoms.get_chemical_formula()).reduce()[0].format(),
                atoms=atoms,
                electron_temperature_K=temperature_K,
                density_g_cm3=float(np.mean([mass_density(one.atoms) for one in members])),
                total_free_energy_meV_per_atom=spread(errors, "total_free_energy_error_meV_per_atom", "total"),
                network_meV_per_atom=spread(errors, "total_free_energy_error_meV_per_atom", "network"),
                method_meV_per_atom=spread(errors, "total_free_energy_error_meV_per_atom", "method"),
                band_energy_meV_per_atom=spread(errors, "band_energy_error_meV_per_atom", "total"),
                fermi_energy_meV=spread(errors, "fermi_energy_error_meV", "total"),
                density_integrated_percent=float(np.mean([one["density_integrated_percent"] for one in fields])),
                dos_percent=float(np.mean([one["dos_percent"] for one in fields])),
            )
        )
    return cards


def spread(errors: Sequence[dict], quantity: str, part: str) -> Spread:
    """Root mean square and largest of a quantity's errors."""
    values = np.array([one[quantity][part] for one in errors], dtype=float)
    return Spread(rms=float(np.sqrt(np.mean(values**2))), largest=float(values[np.argmax(np.abs(values))]))
