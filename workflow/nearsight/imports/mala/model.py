"""A model that MALA has saved (NAME.zip: parameters, state of the network, scalers) as a bundle of ours."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearsight import units
from nearsight.descriptors.interface import make_descriptor
from nearsight.energies.method import functional_of
from nearsight.errors import InputError
from nearsight.files import LARGEST_JSON, parse_json, read_regular
from nearsight.imports.kernels import Broadening
from nearsight.imports.mala.archive import open_archive, read_member
from nearsight.imports.mala.network import make_network, read_layers
from nearsight.imports.mala.parameters import MalaParameters, read_parameters
from nearsight.imports.mala.pseudopotentials import find_pseudopotentials
from nearsight.imports.mala.scalers import read_scaler
from nearsight.imports.mala.torch_file import read_state
from nearsight.imports.mala.training_set import (
    atoms_of_facts,
    broadening_of,
    domain_of_scaling,
    find_snapshots,
    measure_training_domain,
)
from nearsight.model.bundle import LARGEST_WEIGHTS, ModelBundle, save_bundle
from nearsight.model.network import LdosNetwork
from nearsight.model.networks.layered import Settings
from nearsight.model.scaling import Scaling
from nearsight.provenance import collect_provenance

logger = logging.getLogger("nearsight")

#: The last part of the names in the archive.
PARAMETERS, NETWORK, FACTS = ".params.json", ".network.pth", ".info.json"
SCALERS = (".iscaler", ".oscaler")


@dataclass(frozen=True)
class MalaModel:
    """A model as its archive has it, with the network in our form.

    input_kind: of the descriptors' scaler, such as `feature-wise-standard`; facts: MALA's additional data, empty where
    the archive has none.
    """

    parameters: MalaParameters
    network: LdosNetwork
    network_settings: Settings
    input_kind: str
    descriptor_scaling: Scaling
    ldos_scaling: Scaling
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Circumstances:
    """What a bundle needs to know besides the network, from MALA's additional data."""

    elements: list[str]
    temperature_K: float
    ecutrho_Ry: float
    pseudopotentials: Mapping[str, str]


def read_model(path: Path) -> MalaModel:
    """Read a model without running anything of it. Raises InputError that names what Nearsight does not support."""
    content = read_regular(path, "a model of MALA (.zip)", "Save one with Trainer.save_run.", LARGEST_WEIGHTS)
    archive = open_archive(content, str(path))
    stems = [name.removesuffix(PARAMETERS) for name in archive.namelist() if name.endswith(PARAMETERS)]
    if len(stems) != 1:
        raise InputError(
            f"{path}: expected one model, with NAME{PARAMETERS}, NAME{NETWORK} and its scalers, got {len(stems)} of "
            "them. Parameters that are pickled are not read: save the model again with MALA."
        )
    (stem,) = stems

    def member(end: str, largest: int = LARGEST_JSON) -> tuple[bytes, str]:
        return read_member(archive, stem + end, str(path), largest), f"{path}: {stem + end}"

    parameters = read_parameters(parse_json(*member(PARAMETERS)), f"{path}: {stem + PARAMETERS}")
    layers = read_layers(parameters, *read_state(*member(NETWORK, LARGEST_WEIGHTS)), f"{path}: {stem + NETWORK}")
    scalers = []
    for end, features in zip(SCALERS, (parameters.layers[0], parameters.layers[-1]), strict=True):
        kind = ".json" if stem + end + ".json" in archive.namelist() else ".pkl"
        scalers.append(read_scaler(*member(end + kind), features))
    if parameters.layers[-1] != parameters.energy_grid.count:
        raise InputError(
            f"{path}: network.layer_sizes: expected {parameters.energy_grid.count} numbers of the last layer, as "
            f"targets.ldos_gridsize has, got {parameters.layers[-1]}. Are both of one model?"
        )
    network, settings, scaling = make_network(layers, scalers[1][1], parameters.clipped)
    facts = parse_json(*member(FACTS)) if stem + FACTS in archive.namelist() else {}
    return MalaModel(parameters, network, settings, *scalers[0], scaling, facts)


def import_model(
    path: Path,
    folder: Path,
    *,
    pseudopotentials: Path,
    data: Path | None = None,
    temperature_K: float | None = None,
    broadening: Broadening | None = None,
    correction: bool = True,
) -> ModelBundle:
    """Write a model of MALA as model.json and model.safetensors into a folder, and return it.

    pseudopotentials: folder of the UPF files; data: folder of the training snapshots; temperature_K: of the electrons,
    with more digits than MALA has; broadening: of the LDOS, measured from the data where it is not given; correction:
    whether energies are corrected for it, which MALA does not do. Raises InputError where something is missing.
    """
    model = read_model(path)
    parameters, facts = model.parameters, read_facts(model.facts, path)
    settings = parameters.descriptor_settings(facts.elements)
    descriptor = make_descriptor(settings, facts.elements)
    if descriptor.components != parameters.layers[0]:
        raise InputError(
            f"{path}: network.layer_sizes: expected {descriptor.components} numbers of the first layer, as many as "
            f"the bispectrum with twojmax = {parameters.twojmax} has, got {parameters.layers[0]}."
        )
    potentials = find_pseudopotentials(pseudopotentials, facts.elements, facts.pseudopotentials)
    functional_of(potentials)
    training: dict[str, Any] = {}
    if data is not None:
        parts = find_snapshots(parameters, data, descriptor)
        broadening = broadening or broadening_of(parts[0], parameters)
    if data is not None and parts[1]:
        domain, training = measure_training_domain(*parts, descriptor.cutoff_A)
    elif model.input_kind == "feature-wise-standard":
        domain = domain_of_scaling(model.descriptor_scaling, descriptor.cutoff_A)
        logger.warning(
            "domain: only the mean and deviation of the training set's descriptors are known, and no radial "
            "distribution: a structure that is unlike it may pass for a similar one. Give its snapshots with --data."
        )
    else:
        raise InputError(
            f"{path}: expected to know what the model was trained on, found a scaler ({model.input_kind}) that does "
            "not say. Give at least two snapshots of the training and the validation with --data."
        )
    if broadening is None:
        logger.warning(
            "broadening: MALA's model does not say how its LDOS was broadened; energies are those of the broadened "
            "LDOS, as MALA has them. Give --broadening-eV (degauss_ldos of pp.x), or --data with LDOS and text of pw.x."
        )
    record = {
        "from": "MALA",
        "broadening": None if broadening is None else broadening.settings(),
        "scaling": model.input_kind,
        "clipped": parameters.clipped,
    }
    bundle = ModelBundle(
        network=model.network,
        network_settings=model.network_settings,
        descriptor_scaling=model.descriptor_scaling,
        ldos_scaling=model.ldos_scaling,
        descriptor_settings=settings,
        energy_grid=parameters.energy_grid,
        broadening_eV=broadening.gaussian_eV if broadening is not None and correction else None,
        temperature_K=temperature_K or facts.temperature_K,
        elements=facts.elements,
        electrons_per_element={element: one.valence for element, one in potentials.items()},
        pseudopotentials={element: one.text for element, one in potentials.items()},
        ecutrho_Ry=facts.ecutrho_Ry,
        domain=domain,
        training=training,
        provenance=collect_provenance(
            "training", record, {"MALA's model": path, **{one.path.name: one.path for one in potentials.values()}}
        ),
    )
    save_bundle(bundle, folder / "model.json", folder / "model.safetensors")
    return bundle


def read_facts(facts: Mapping[str, Any], path: Path) -> Circumstances:
    """Elements, temperature and cutoff of MALA's additional data. Raises InputError where they are missing."""
    where = f"{path}: NAME{FACTS}"
    if not facts:
        raise InputError(
            f"{where}: expected the additional data of a calculation (structure, temperature, cutoff), found none. "
            "Save the model again with Trainer.save_run(..., additional_calculation_data='NAME.out')."
        )
    atoms = atoms_of_facts(facts, where)
    numbers = {}
    for key in ("temperature", "ecutrho"):
        value = facts.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < units.LARGEST_NUMBER:
            raise InputError(f"{where}: {key}: expected a number above 0, got {str(value)[:40]}.")
        numbers[key] = float(value)
    names = facts.get("pseudopotentials")
    names = {str(k): v for k, v in names.items() if isinstance(v, str)} if isinstance(names, dict) else {}
    elements = [str(atoms.symbols[index]) for index in np.unique(atoms.numbers, return_index=True)[1]]
    return Circumstances(elements, numbers["temperature"], numbers["ecutrho"], names)
