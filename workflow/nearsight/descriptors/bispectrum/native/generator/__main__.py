"""python -m generator --twojmax 10 --registers 32 --output bispectrum_10_32.hpp."""

import argparse
from pathlib import Path

from generator.algebra import TorusLayout, triples
from generator.neighbours import write_neighbour_sum
from generator.products import write_products
from generator.wigner import PlaneLayout, write_wigner_map


def main() -> None:
    """Write one header: sizes, neighbour sum, change of basis, triple products."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twojmax", type=int, required=True)
    parser.add_argument("--registers", type=int, required=True, help="vector registers of the instruction set")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    twojmax, registers = arguments.twojmax, arguments.registers
    planes = PlaneLayout(twojmax)
    lines = [
        f"// Generated for twojmax = {twojmax} and {registers} vector registers; do not edit. Included by kernel.cpp.",
        f"constexpr int twojmax = {twojmax};",
        f"constexpr int component_count = {len(triples(twojmax))};",
        f"constexpr int torus_size = {TorusLayout(twojmax).size};",
        f"constexpr int plane_size = {planes.whole[-1]};",
        f"constexpr int half_plane_size = {planes.half[-1]};",
        f"constexpr int product_rows = {sum(k > 0 for group in TorusLayout(twojmax).rows for _, k, _ in group)};",
        "// sums to which the grid point itself adds: b^0 T_k(1) = 1 and the real parts of a^p = 1",
        f"constexpr int self_places[] = {{{', '.join(map(str, self_places(twojmax)))}}};",
        "",
        '#include "kernel_types.hpp"',
        "",
        *write_neighbour_sum(twojmax, registers),
        "",
        *write_wigner_map(twojmax),
        "",
        *write_products(twojmax, registers),
    ]
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def self_places(twojmax: int) -> list[int]:
    """Places of T_k Re a^p."""
    layout = TorusLayout(twojmax)
    return [layout.index(p, 0, 0, 0, k) for k in range(twojmax // 2 + 1) for p in range(twojmax - 2 * k + 1)]


if __name__ == "__main__":
    main()
