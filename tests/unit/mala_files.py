"""Files as MALA and pw.x write them, small: models, scalers, arrays, and the text of a run of two beryllium atoms."""

import io
import json
import pickle
import sys
import types
import zipfile

import h5py
import numpy as np
import torch
from ase.build import bulk
from scipy.special import expit

from nearsight import units
from nearsight.grids.plane_waves import fft_shape

ECUTRHO_Ry = 24.0
TEMPERATURE_K = 2000.0
CUTOFF_A = 3.0

#: Of twojmax = 2.
COMPONENTS = 5


class Network(torch.nn.Module):
    """MALA's feed-forward network: modules in a row, by the name `layers`."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)

    def forward(self, rows):
        for layer in self.layers:
            rows = layer(rows)
        return rows


def make_network(seed=0, energies=9, activation=torch.nn.LeakyReLU, after_output=True, width=12):
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(COMPONENTS, width), activation(), torch.nn.Linear(width, energies)]
    return Network(*layers, *([activation()] if after_output else []))


def scaler_fields(rows, kind):
    """MALA's fields of a scaler, fitted as MALA does it."""
    rows = torch.as_tensor(rows, dtype=torch.float32)
    fields = {
        "use_ddp": False,
        "typestring": kind,
        "scale_standard": "standard" in kind,
        "scale_minmax": "minmax" in kind or "normal" in kind,
        "feature_wise": "feature-wise" in kind,
        "cantransform": True,
        **{name: torch.empty(0) for name in ("means", "stds", "maxs", "mins")},
        "total_mean": torch.tensor(0),
        "total_std": torch.tensor(0),
        "total_max": torch.tensor(float("-inf")),
        "total_min": torch.tensor(float("inf")),
        "total_data_count": 0,
    }
    if fields["feature_wise"]:
        fields |= {"means": rows.mean(0, keepdim=True), "stds": rows.std(0, keepdim=True)}
        fields |= {"maxs": rows.max(0).values, "mins": rows.min(0).values}
    else:
        fields |= {"total_mean": rows.mean(), "total_std": rows.std(), "total_max": rows.max(), "total_min": rows.min()}
    return fields


def scaler_json(fields):
    plain = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in fields.items()}
    return json.dumps(plain, indent=4).encode()


def scaler_pickle(fields, **changes):
    """The same as MALA pickled it before 1.4: an object of its class with tensors in it."""
    module = types.ModuleType("mala.datahandling.data_scaler")
    kind = type("DataScaler", (), {"__module__": module.__name__})
    module.DataScaler = kind
    names = ["mala", "mala.datahandling", module.__name__]
    before = {name: sys.modules.get(name) for name in names}
    packages = [types.ModuleType(name) for name in names[:2]]
    sys.modules.update(dict(zip(names, [*packages, module], strict=True)))
    try:
        scaler = kind()
        scaler.__dict__.update({**fields, **changes})
        return pickle.dumps(scaler, protocol=4)
    finally:
        for name, old in before.items():
            sys.modules.pop(name) if old is None else sys.modules.__setitem__(name, old)


def network_file(network, old=True):
    handle = io.BytesIO()
    torch.save(network.state_dict(), handle, _use_new_zipfile_serialization=not old)
    return handle.getvalue()


def parameters(network, energies=9, **changes):
    """NAME.params.json; changes: values by keys with dots."""
    linear = [layer for layer in network.layers if isinstance(layer, torch.nn.Linear)]
    content = {
        "comment": "",
        "data": {"snapshot_directories_list": [named_snapshot(n, role) for n, role in enumerate(("tr", "va"))]},
        "descriptors": {
            "bispectrum_cutoff": CUTOFF_A,
            "bispectrum_switchflag": 1,
            "bispectrum_twojmax": 2,
            "bispectrum_element_weights": None,
            "custom_lammps_compute_file": "",
            "descriptor_type": "Bispectrum",
            "descriptors_contain_xyz": True,
        },
        "network": {
            "nn_type": "feed-forward",
            "layer_activations": "LeakyReLU",
            "layer_activations_include_output_layer": True,
            "layer_sizes": [COMPONENTS, *(layer.out_features for layer in linear)],
        },
        "targets": {
            "ldos_gridoffset_ev": -3.0,
            "ldos_gridsize": energies,
            "ldos_gridspacing_ev": 2.0,
            "restrict_targets": "zero_out_negative",
            "target_type": "LDOS",
        },
    }
    for key, value in changes.items():
        section, name = key.split("__")
        if value is KeyError:
            del content[section][name]
        else:
            content[section][name] = value
    return content


def named_snapshot(number, role):
    names = {"input_npy_file": f"Be_snapshot{number}.in.npy", "output_npy_file": f"Be_snapshot{number}.out.npy"}
    folders = {"input_npy_directory": "/home/x", "output_npy_directory": "/home/x"}
    return {"object": "Snapshot", "data": {**names, **folders, "snapshot_function": role}}


def facts(atoms, **changes):
    """NAME.info.json."""
    return {
        "temperature": TEMPERATURE_K,
        "ecutrho": ECUTRHO_Ry,
        "pseudopotentials": {"Be": "Be.upf"},
        "atoms": {
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": np.asarray(atoms.cell).tolist(),
            "pbc": [True] * 3,
        },
    } | changes


def write_model(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return path


def beryllium(seed):
    """A structure as pw.x prints it, and its grid."""
    atoms = bulk("Be", a=2.26, c=3.58)
    atoms.positions += np.random.default_rng(seed).normal(scale=0.05, size=(2, 3)) + 0.2
    return atoms, fft_shape(np.asarray(atoms.cell), ECUTRHO_Ry)


def text_of_run(atoms, grid, states, fermi_eV, total_Ry=-5.0, **changes):
    """What pw.x 6.6 prints of an SCF with verbosity = 'high', in its own formats; states: shape (4, bands)."""
    values = {"conv_thr": 1e-9, "smearing": "Fermi-Dirac", "more": "", "file": "/home/x/Be.upf"} | changes
    alat = float(np.linalg.norm(atoms.cell[0])) / units.BOHR_A
    scaled = [np.asarray(rows) / units.BOHR_A / alat for rows in (atoms.cell, atoms.positions)]
    triple = "({:12.6f}{:12.6f}{:12.6f} )"
    cell = "\n".join(f"               a({n + 1}) = " + triple.format(*row) for n, row in enumerate(scaled[0]))
    sites = "\n".join(
        f"      {n + 1:4d}           {symbol}  tau({n + 1:4d}) = ({row[0]:12.7f}{row[1]:12.7f}{row[2]:12.7f}  )"
        for n, (symbol, row) in enumerate(zip(atoms.symbols, scaled[1], strict=True))
    )
    points = [(0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, -0.5, 0.0), (0.5, -0.5, 0.0)]
    cartesian = np.array(points) @ np.linalg.inv(scaled[0]).T
    rows = "\n".join(
        f"        k({n + 1:5d}) = ({row[0]:12.7f}{row[1]:12.7f}{row[2]:12.7f}), wk ={0.5:12.7f}"
        for n, row in enumerate(cartesian)
    )
    tables = ""
    for row, energies in zip(cartesian, states, strict=True):
        lines = [energies[at : at + 8] for at in range(0, len(energies), 8)]
        table = "\n".join("  " + "".join(f"{energy:9.4f}" for energy in line) for line in lines)
        tables += f"          k ={row[0]:7.4f}{row[1]:7.4f}{row[2]:7.4f} (   463 PWs)   bands (ev):\n\n{table}\n\n"
        tables += "     occupation numbers\n" + table + "\n\n"
    width = units.thermal_energy(TEMPERATURE_K) / units.RYDBERG_eV
    return f"""
     Program PWSCF v.6.6 starts on  7Sep2021 at 16:21:22
     lattice parameter (alat)  = {alat:11.4f}  a.u.
     number of atoms/cell      = {len(atoms):12d}
     number of electrons       = {2.0 * len(atoms):12.2f}
     number of Kohn-Sham states= {len(states[0]):12d}
     kinetic-energy cutoff     = {ECUTRHO_Ry / 4:12.4f}  Ry
     charge density cutoff     = {ECUTRHO_Ry:12.4f}  Ry
     convergence threshold     =      {values["conv_thr"]:.1E}
     mixing beta               =       0.7000
{values["more"]}
     celldm(1)={alat:11.6f}  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
{cell}

     PseudoPot. # 1 for Be read from file:
     {values["file"]}
     MD5 check sum: 734a25375992c446e1da9bf329ae4716

     site n.     atom                  positions (alat units)
{sites}

     number of k points={len(points):6d}  {values["smearing"]} smearing, width (Ry)={width:8.4f}
                       cart. coord. in units 2pi/alat
{rows}

                       cryst. coord.
        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   0.5000000

     Dense  grid:     3669 G-vectors     FFT dimensions: ({grid[0]:4d},{grid[1]:4d},{grid[2]:4d})

     End of self-consistent calculation

{tables}
     the Fermi energy is {fermi_eV:10.4f} ev

!    total energy              = {total_Ry:16.8f} Ry
     estimated scf accuracy    <       0.00000000 Ry
     smearing contrib. (-TS)   =      -0.00400000 Ry
     one-electron contribution =       4.06040000 Ry
     hartree contribution      =       0.00450000 Ry
     xc contribution           =      -3.29450000 Ry
     ewald contribution        =      -6.13840000 Ry

     convergence has been achieved in   2 iterations

     Forces acting on atoms (cartesian axes, Ry/au):

     atom    1 type  1   force =    -0.01587068    0.00368364    0.00008257
     atom    2 type  1   force =     0.01587068   -0.00368364   -0.00008257
     The non-local contrib.  to forces
     atom    1 type  1   force =     1.00000000    0.00000000    0.00000000
"""


def free_electrons(seed=0, bands=100):
    """Eigenvalues of free electrons at four k-points, eV with the four digits of a text, shape (4, bands)."""
    points = np.random.default_rng(seed).random((4, 3)) * 0.2
    shifts = np.array(np.meshgrid(*[[-3, -2, -1, 0, 1, 2, 3]] * 3)).reshape(3, -1).T
    states = 3.0 * ((points[:, None] + shifts) ** 2).sum(axis=2)
    return np.round(np.sort(states, axis=1)[:, :bands], 4)


def fermi_level(states, electrons=4.0):
    """The level at which states with weights of 1/2 hold the electrons."""
    low, high = states.min(), states.max()
    for _ in range(100):
        level = (low + high) / 2
        held = 0.5 * expit((level - states) / units.thermal_energy(TEMPERATURE_K)).sum()
        low, high = (level, high) if held < electrons else (low, level)
    return level


def write_openpmd(path, mesh, values, unit_SI, chunks=None, **changes):
    """An array, shape (nx, ny, nz, features), as openPMD-api 0.15 writes it for MALA."""
    with h5py.File(path, "w") as file:
        file.attrs["openPMD"] = np.bytes_("1.1.0")
        file.attrs["is_mala_data"] = np.uint8(changes.get("is_mala_data", 1))
        for feature in range(values.shape[-1]):
            options = {"chunks": chunks, "compression": changes.get("compression")}
            array = file.create_dataset(f"data/3/meshes/{mesh}/{feature}", data=values[..., feature], **options)
            array.attrs["unitSI"] = float(unit_SI)
            array.attrs["position"] = np.array([0.5, 0.5, 0.5], dtype=np.longdouble)
    return path
