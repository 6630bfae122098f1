"""C++ of the triple products: for every component a few tiles whose sums stay in registers.

B(j1 j2 j) = Σ_mb Σ_ma conj(u_W[mb, ma]) Σ_m1 C(mb, m1) Σ_ma1 C(ma, ma1) u_A[m1, ma1] u_U[m2, ma2], C the
Clebsch-Gordan coefficients. B is symmetric but for a factor (j + 1)/(j_W + 1), so that A, U and W may be the three
j in any order: the cheapest one is taken. Half of the rows mb suffice (times 2), and where A and U are the same
matrix half of the pairs.
"""

import itertools
from dataclasses import dataclass

from generator.algebra import clebsch_gordan, triples
from generator.wigner import PlaneLayout

#: (ma1, ma2, ma, weight): one product of columns
Pair = tuple[int, int, int, float]


@dataclass
class Part:
    """Rows mb of the last factor that share their pairs: `inner` is the range of m1 for each, `tiles` the pairs."""

    rows: list[int]
    inner: list[tuple[int, int]]
    tiles: list[list[Pair]]


@dataclass
class Component:
    """One component with its cheapest order of roles."""

    number: int
    roles: tuple[int, int, int]
    offset: int  # m2 = mb + offset - m1
    parts: list[Part]


def write_products(twojmax: int, registers: int) -> list[str]:
    """Lines of the coefficients, of one function per component and of `triple_products`."""
    layout = PlaneLayout(twojmax)
    components = [_plan(number, triple, registers) for number, triple in enumerate(triples(twojmax))]
    # components that read the same matrices follow one another
    components.sort(key=lambda component: component.roles)
    pool: list[float] = []
    functions: list[str] = []
    for component in components:
        functions += _function(component, layout, pool)
    lines = ["// Clebsch-Gordan coefficients in the order of their use", "template <class Real>"]
    lines.append("alignas(64) constexpr Real coefficients[] = {")
    lines += ["    " + ", ".join(repr(x) for x in pool[i : i + 6]) + "," for i in range(0, len(pool), 6)]
    lines += ["};", "", *functions]
    lines += [
        "// All components of all lanes. Plane by plane, because one plane fits in the first cache.",
        "template <class Real>",
        "void triple_products(const Planes<Real>& planes, Vector<Real>* __restrict out) {",
        f"    for (int i = 0; i < {len(components)}; i++) out[i] = Vector<Real>{{}};",
        "    for (int plane = 0; plane < 3; plane++) {",
        "        const Vector<Real>* factor = planes.factor[plane];",
        "        const Vector<Real>* last = planes.last[plane];",
    ]
    lines += [f"        component_{component.number}<Real>(factor, last, out);" for component in components]
    lines += ["    }", "}"]
    lines += [
        "",
        "// multiply-adds and multiplications",
        f"constexpr int product_operations = {_operations(components)};",
    ]
    return lines


def _operations(components: list[Component]) -> int:
    """Vector operations of all three planes."""
    total = 0
    for component in components:
        for part in component.parts:
            steps = sum(last - first + 1 for first, last in part.inner)
            for tile in part.tiles:
                of_a, of_u, of_w = (len({pair[i] for pair in tile}) for i in range(3))
                total += steps * (len(tile) + min(of_a, of_u)) + len(part.rows) * (len(tile) + of_w)
    return 3 * total


def _plan(number: int, triple: tuple[int, int, int], registers: int) -> Component:
    best = None
    for roles in sorted(set(itertools.permutations(triple))):
        j_a, j_u, j_w = roles
        same = j_a == j_u
        if len(set(triple)) < 3 and not same:
            continue  # equal matrices as the first two factors halve the pairs
        offset = (j_a + j_u - j_w) // 2
        factor = 2.0 * (triple[2] + 1) / (j_w + 1)
        cost, parts = 0.0, []
        rows = [mb for mb in range(j_w + 1) if 2 * mb < j_w]
        for middle in (False, True):
            if middle:
                rows = [j_w // 2] if j_w % 2 == 0 else []
            if not rows:
                continue
            inner = [(max(0, mb + offset - j_u), min(j_a, mb + offset)) for mb in rows]
            part_cost, tiles = _cheapest_tiles(_pairs(roles, offset, factor, middle), inner, registers)
            cost += part_cost
            parts.append(Part(rows, inner, tiles))
        if best is None or cost < best[0]:
            best = cost, Component(number, roles, offset, parts)
    return best[1]


def _pairs(roles: tuple[int, int, int], offset: int, factor: float, middle: bool) -> list[Pair]:
    j_a, j_u, j_w = roles
    pairs = []
    for ma1 in range(j_a + 1):
        for ma2 in range(j_u + 1):
            ma = ma1 + ma2 - offset
            if not 0 <= ma <= j_w or (middle and 2 * ma > j_w) or (j_a == j_u and ma1 > ma2):
                continue
            coefficient = clebsch_gordan(j_a, ma1, j_u, ma2, j_w)
            if abs(coefficient) < 1e-14:
                continue
            weight = factor * coefficient
            weight *= 2.0 if j_a == j_u and ma1 < ma2 else 1.0
            weight *= 0.5 if middle and 2 * ma == j_w else 1.0
            pairs.append((ma1, ma2, ma, weight))
    return pairs


def _cheapest_tiles(pairs: list[Pair], inner: list[tuple[int, int]], registers: int) -> tuple[float, list[list[Pair]]]:
    steps = sum(last - first + 1 for first, last in inner)
    best = None
    for width in range(1, 9):
        for order in (lambda p: (p[2], p[1]), lambda p: (p[0], p[1])):
            tiles = _tiles(pairs, width, order, registers)
            cost = sum(_tile_cost(tile, steps, len(inner)) for tile in tiles)
            if best is None or cost < best[0]:
                best = cost, tiles
    return best


def _tiles(pairs: list[Pair], width: int, order, registers: int) -> list[list[Pair]]:
    """Blocks of `width` columns of U, each cut into tiles that fit in the registers."""
    columns = sorted({pair[1] for pair in pairs})
    tiles = []
    for start in range(0, len(columns), width):
        chosen = columns[start : start + width]
        block = sorted((pair for pair in pairs if pair[1] in chosen), key=order)
        limit = min(3 * registers // 4, registers - 2 - len(chosen))
        size = -(-len(block) // -(-len(block) // limit))
        tiles += [block[i : i + size] for i in range(0, len(block), size)]
    return tiles


def _tile_cost(tile: list[Pair], steps: int, rows: int) -> float:
    """Cycles' worth of the two multiply-add units; the numbers of the last line are measured overheads."""
    of_a, of_u, of_w = (len({pair[i] for pair in tile}) for i in range(3))
    arithmetic, loads = len(tile) + min(of_a, of_u), of_a + of_u + 1
    return steps * max(arithmetic, loads) + rows * (1.3 * len(tile) + of_w + 8)


def _function(component: Component, layout: PlaneLayout, pool: list[float]) -> list[str]:
    j_a, j_u, j_w = component.roles
    offset = component.offset
    lines = [
        f"// component {component.number}: A = u[{j_a}], U = u[{j_u}], W = u[{j_w}]",
        "template <class Real>",
        f"[[gnu::noinline]] void component_{component.number}(const Vector<Real>* __restrict factor,",
        "        const Vector<Real>* __restrict last, Vector<Real>* __restrict out) {",
        "    using V = Vector<Real>;",
        f"    const V* A = factor + {layout.whole[j_a]};",
        f"    const V* U = factor + {layout.whole[j_u]};",
        f"    const V* W = last + {layout.half[j_w]};",
        f"    V total = out[{component.number}];",
    ]
    for part in component.parts:
        left = len(pool)
        for mb, (first, final) in zip(part.rows, part.inner, strict=True):
            pool += [clebsch_gordan(j_a, m1, j_u, mb + offset - m1, j_w) for m1 in range(first, final + 1)]
        for tile in part.tiles:
            right = len(pool)
            pool += [pair[3] for pair in tile]
            lines += _tile(component, part, tile, left, right)
    lines += [f"    out[{component.number}] = total;", "}", ""]
    return lines


def _tile(component: Component, part: Part, tile: list[Pair], left: int, right: int) -> list[str]:
    j_a, j_u, j_w = component.roles
    offset = component.offset
    of_a, of_u, of_w = (sorted({pair[i] for pair in tile}) for i in range(3))
    sums = [f"s{i}" for i in range(len(tile))]
    lines = [
        "    {",
        f"        const Real* scale = coefficients<Real> + {left};",
        f"        const Real* weight = coefficients<Real> + {right};",
        "        keep_in_memory(weight);",
    ]
    if len(part.rows) > 1:
        lines += [
            f"        for (int mb = {part.rows[0]}; mb <= {part.rows[-1]}; mb++) {{",
            f"            const int first = mb > {j_u - offset} ? mb - {j_u - offset} : 0;"
            if j_u > offset
            else f"            const int first = mb + {offset - j_u};",
            f"            const int final = mb < {j_a - offset} ? mb + {offset} : {j_a};"
            if j_a > offset
            else f"            const int final = {j_a};",
        ]
    else:
        lines += [
            "        {",
            f"            constexpr int mb = {part.rows[0]}, first = {part.inner[0][0]}, final = {part.inner[0][1]};",
        ]
    lines += [
        f"            const V* a = A + first * {j_a + 1};",
        f"            const V* u = U + (mb + {offset} - first) * {j_u + 1};",
        "            int n = final - first + 1;",
        "            V " + ", ".join(f"{s} = {{}}" for s in sums) + ";",
        "            do {",
        "                const Real c = *scale++;",
    ]
    if len(of_u) <= len(of_a):
        lines.append("                const V " + ", ".join(f"u{x} = u[{x}] * c" for x in of_u) + ";")
        for x in of_a:
            updates = " ".join(f"{s} += ax * u{pair[1]};" for s, pair in zip(sums, tile, strict=True) if pair[0] == x)
            lines.append(f"                {{ const V ax = a[{x}]; {updates} }}")
    else:
        lines.append("                const V " + ", ".join(f"a{x} = a[{x}] * c" for x in of_a) + ";")
        for x in of_u:
            updates = " ".join(f"{s} += ux * a{pair[0]};" for s, pair in zip(sums, tile, strict=True) if pair[1] == x)
            lines.append(f"                {{ const V ux = u[{x}]; {updates} }}")
    lines += [
        f"                a += {j_a + 1};",
        f"                u -= {j_u + 1};",
        "            } while (--n);",
        f"            const V* w = W + mb * {j_w + 1};",
    ]
    for x in of_w:
        terms = [f"{s} * weight[{i}]" for i, s in enumerate(sums) if tile[i][2] == x]
        rest = " ".join(f"z += {term};" for term in terms[1:])
        lines.append(f"            {{ V z = {terms[0]}; {rest} total += z * w[{x}]; }}")
    lines += ["        }", "    }"]
    return lines
