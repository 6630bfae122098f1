"""C++ of the sum over neighbours: rank-one updates of the torus functions, in tiles that stay in registers."""

from generator.algebra import TorusLayout


def write_neighbour_sum(twojmax: int, registers: int) -> list[str]:
    """Lines of `add_neighbours`."""
    layout = TorusLayout(twojmax)
    lines = [
        "// Adds the neighbours of a chunk to the sums of the torus functions, group by group:",
        "// sums[b^q T_k(w)][a^p] += weight · fc · b^q T_k(w) · a^p. One register holds one number of every lane.",
        "template <class Real>",
        "void add_neighbours(Chunk<Real>& chunk, int count, Vector<Real>* __restrict sums) {",
        "    using V = Vector<Real>;",
    ]
    for group in range(twojmax + 1):
        lines += _group(layout, group, registers)
    lines.append("}")
    return lines


def _group(layout: TorusLayout, group: int, registers: int) -> list[str]:
    rows, columns = layout.rows[group], layout.columns[group]
    lines = [f"    // q + 2k = {group}: {len(rows)} rows b^q T_k, {columns} columns a^p"]
    places = []  # C++ expression of each row, for neighbour n
    products = []
    for number, (q, k, part) in enumerate(rows):
        b = 0 if q == 0 else 2 * q - 1 + part
        if k == 0:
            places.append(f"chunk.b[n][{b}]")
        else:
            places.append(f"chunk.row[n][{number}]")
            products.append(f"chunk.row[n][{number}] = chunk.b[n][{b}] * chunk.t[n][{k}];")
    if products:
        lines += ["    for (int n = 0; n < count; n++) {", *(f"        {x}" for x in products), "    }"]
    height, width = _tile_shape(len(rows), columns, registers)
    for top in range(0, len(rows), height):
        for left in range(0, columns, width):
            tile_rows = range(top, min(top + height, len(rows)))
            tile_columns = range(left, min(left + width, columns))
            lines += _tile(layout.start[group], columns, tile_rows, tile_columns, places)
    return lines


def _tile_shape(rows: int, columns: int, registers: int) -> tuple[int, int]:
    """Rows and columns of a tile: fewest loads among those whose sums stay in registers."""
    best = None
    for row_blocks in range(1, rows + 1):
        height = -(-rows // row_blocks)
        for column_blocks in range(1, columns + 1):
            width = -(-columns // column_blocks)
            if height * width + min(height, width) + 1 > registers - 1:
                continue
            # loads per neighbour, and the load and store of the sums, shared by the neighbours of a chunk
            tiles = row_blocks * column_blocks
            cost = tiles * (height + width + 2), tiles
            if best is None or cost < best[0]:
                best = cost, height, width
    return best[1:]


def _tile(start: int, stride: int, rows: range, columns: range, places: list[str]) -> list[str]:
    cells = [(r, c) for r in rows for c in columns]
    lines = [f"    {{  // rows {rows[0]}-{rows[-1]}, columns {columns[0]}-{columns[-1]}"]
    lines.append(f"        V* __restrict s = sums + {start};")
    lines.append("        V " + ", ".join(f"s{r}_{c} = s[{r * stride + c}]" for r, c in cells) + ";")
    lines.append("        for (int n = 0; n < count; n++) {")
    if len(rows) <= len(columns):
        lines += [f"            const V b{r} = {places[r]};" for r in rows]
        for c in columns:
            if c == 0:  # a^0 = 1
                lines += [f"            s{r}_0 += b{r};" for r in rows]
                continue
            updates = " ".join(f"s{r}_{c} += a * b{r};" for r in rows)
            lines.append(f"            {{ const V a = chunk.a[n][{c}]; {updates} }}")
    else:
        lines += [f"            const V a{c} = chunk.a[n][{c}];" for c in columns if c > 0]
        for r in rows:
            updates = " ".join(f"s{r}_{c} += b * a{c};" if c > 0 else f"s{r}_0 += b;" for c in columns)
            lines.append(f"            {{ const V b = {places[r]}; {updates} }}")
    lines.append("        }")
    lines.append("        " + " ".join(f"s[{r * stride + c}] = s{r}_{c};" for r, c in cells))
    lines.append("    }")
    return lines
