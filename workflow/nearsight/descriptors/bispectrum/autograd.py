"""The torch backend: the same components, written for derivatives rather than speed.

It follows LAMMPS's definition step by step (Wigner recursion, Clebsch-Gordan sums over dense arrays), so it checks the
native kernel, which uses a different algorithm. It is differentiable in the positions and in the cell, and runs on any
torch device.
"""

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from nearsight.descriptors.bispectrum import Settings
from nearsight.descriptors.bispectrum.components import component_order
from nearsight.grids.real import RealGrid
from nearsight.grids.regions import Region

if TYPE_CHECKING:
    import torch

#: Grid points at a time: bounds the memory for pairs and their Wigner matrices.
CHUNK = 256


def bispectrum_region(
    atoms: Atoms, grid: RealGrid, settings: Settings, region: Region, out: np.ndarray, *, threads: int = 1
) -> np.ndarray:
    """Fill `out`, shape (*lengths of region, components), on the CPU, in its own precision; the threads are torch's."""
    import torch

    kind = {"float32": torch.float32, "float64": torch.float64}[out.dtype.name]
    fractions = grid.fractions(region).reshape(-1, 3)
    positions, cell = (torch.as_tensor(x, dtype=torch.float64) for x in (atoms.positions, grid.cell))
    values = np.empty((len(fractions), out.shape[-1]), dtype=out.dtype)
    with torch.no_grad():
        for low in range(0, len(fractions), CHUNK):
            points = torch.as_tensor(fractions[low : low + CHUNK])
            values[low : low + CHUNK] = bispectrum_at(
                positions, cell, points, atoms.get_chemical_symbols(), settings, kind
            ).numpy()
    out[...] = values.reshape(out.shape)
    return out


def bispectrum_at(
    positions: "torch.Tensor",
    cell: "torch.Tensor",
    fractions: "torch.Tensor",
    symbols: list[str],
    settings: Settings,
    dtype: "torch.dtype | None" = None,
) -> "torch.Tensor":
    """Components at some points, shape (points, components), differentiable in positions and cell.

    positions: (atoms, 3) and cell: (3, 3), Å, float64; fractions: (points, 3), fractional coordinates of the
    points; dtype: precision from the distances on (that of the positions if None).
    """
    import torch

    dtype = dtype or positions.dtype
    device = positions.device
    weights = torch.tensor([settings.weights.get(symbol, 1.0) for symbol in symbols], device=device, dtype=dtype)
    point, atom, shift = _pairs(positions, cell, fractions, settings.cutoff_A)
    vectors = positions[atom] + (shift - fractions[point]) @ cell
    vectors = vectors.to(dtype)
    distance = vectors.norm(dim=1)
    reduced = (distance - settings.rmin0) / (settings.cutoff_A - settings.rmin0)
    density = weights[atom] * torch.where(reduced > 0, 0.5 * (torch.cos(math.pi * reduced) + 1), 1.0)
    theta = settings.rfac0 * math.pi * reduced
    direction = vectors * (torch.sin(theta) / distance)[:, None]
    a = torch.complex(torch.cos(theta), -direction[:, 2])
    b = torch.complex(direction[:, 1], -direction[:, 0])

    sums = []
    for j, matrix in enumerate(_wigner(a, b, settings.twojmax)):
        total = torch.eye(j + 1, dtype=matrix.dtype, device=device).repeat(len(fractions), 1, 1)
        sums.append(total.index_add(0, point, density[:, None, None] * matrix))
    columns = []
    for j1, j2, j in component_order(settings.twojmax):
        coupling = torch.as_tensor(_coupling(j1, j2, j), dtype=dtype, device=device)
        coupling = torch.complex(coupling, torch.zeros_like(coupling))
        z = torch.einsum("abm,cdn,pac,pbd->pmn", coupling, coupling, sums[j1], sums[j2])
        columns.append((sums[j].conj() * z).sum(dim=(1, 2)).real)
    return torch.stack(columns, dim=1)


def _pairs(positions, cell, fractions, cutoff):
    """(point, atom, shift) of all pairs nearer than the cutoff; an atom on the point itself is left out."""
    import torch

    with torch.no_grad():
        inverse = torch.linalg.inv(cell)
        scaled = positions @ inverse
        base = -torch.floor(scaled)
        scaled = scaled + base
        margin = cutoff * inverse.norm(dim=0)
        low = torch.floor(fractions.min(dim=0).values - margin).long().tolist()
        high = torch.ceil(fractions.max(dim=0).values + margin).long().tolist()
        points, atoms, shifts = [], [], []
        for image in itertools.product(*(range(first - 1, last + 1) for first, last in zip(low, high, strict=True))):
            move = torch.tensor(image, dtype=positions.dtype, device=positions.device)
            squares = ((((scaled + move)[None] - fractions[:, None]) @ cell) ** 2).sum(dim=-1)
            point, atom = torch.nonzero((squares < cutoff**2) & (squares > 1e-20), as_tuple=True)
            points.append(point)
            atoms.append(atom)
            shifts.append(base[atom] + move)
        return torch.cat(points), torch.cat(atoms), torch.cat(shifts)


def _wigner(a, b, twojmax: int) -> list:
    """Wigner matrices u[j] of all pairs, shape (pairs, j + 1, j + 1), by the recursion of LAMMPS's SNA."""
    import torch

    matrices = [torch.ones((len(a), 1, 1), dtype=a.dtype, device=a.device)]
    for j in range(1, twojmax + 1):
        before = matrices[-1]
        rows = []
        for mb in range(j // 2 + 1):
            ma = torch.arange(j, device=a.device, dtype=a.real.dtype)
            left = torch.sqrt((j - ma) / (j - mb)) * a.conj()[:, None] * before[:, mb]
            right = -torch.sqrt((ma + 1) / (j - mb)) * b.conj()[:, None] * before[:, mb]
            rows.append(torch.nn.functional.pad(left, (0, 1)) + torch.nn.functional.pad(right, (1, 0)))
        for mb in range(j // 2 + 1, j + 1):
            # u[j - mb][j - ma] = (-1)^(ma + mb) conj(u[mb][ma])
            signs = (-1.0) ** (torch.arange(j + 1, device=a.device) + mb)
            rows.append(signs * rows[j - mb].flip(1).conj())
        matrices.append(torch.stack(rows, dim=1))
    return matrices


def _coupling(j1: int, j2: int, j: int) -> np.ndarray:
    """Clebsch-Gordan coefficients, shape (j1 + 1, j2 + 1, j + 1), of doubled angular momenta."""
    f = math.factorial
    table = np.zeros((j1 + 1, j2 + 1, j + 1))
    triangle = f((j1 + j2 - j) // 2) * f((j1 - j2 + j) // 2) * f((-j1 + j2 + j) // 2) / f((j1 + j2 + j) // 2 + 1)
    for m1, m2 in itertools.product(range(j1 + 1), range(j2 + 1)):
        m = m1 + m2 - (j1 + j2 - j) // 2
        if not 0 <= m <= j:
            continue
        a, b = 2 * m1 - j1, 2 * m2 - j2
        low = max(0, (j2 - j - a) // 2, (j1 - j + b) // 2)
        high = min((j1 + j2 - j) // 2, j1 - m1, m2)
        total = sum(
            (-1) ** z
            / (
                f(z)
                * f((j1 + j2 - j) // 2 - z)
                * f(j1 - m1 - z)
                * f(m2 - z)
                * f((j - j2 + a) // 2 + z)
                * f((j - j1 - b) // 2 + z)
            )
            for z in range(low, high + 1)
        )
        norm = f(m1) * f(j1 - m1) * f(m2) * f(j2 - m2) * f(m) * f(j - m) * (j + 1)
        table[m1, m2, m] = total * math.sqrt(triangle * norm)
    return table
