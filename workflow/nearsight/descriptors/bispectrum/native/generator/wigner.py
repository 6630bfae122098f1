"""C++ of the change of basis: from the sums of the torus functions to the Wigner matrices, in three real planes."""

from generator.algebra import TorusLayout, torus_expansion, wigner_matrices


class PlaneLayout:
    """Where u[j][mb, ma] is in a plane; the last factor of a product needs the rows mb <= j/2 alone."""

    def __init__(self, twojmax: int) -> None:
        self.whole = [0]
        self.half = [0]
        for j in range(twojmax + 1):
            self.whole.append(self.whole[-1] + (j + 1) ** 2)
            self.half.append(self.half[-1] + (j // 2 + 1) * (j + 1))


def write_wigner_map(twojmax: int) -> list[str]:
    """Lines of `to_planes`.

    The product of three complex matrices is three real products (Karatsuba): with u = re + i im the first two
    factors take the planes re, im, re + im, the conjugated last one takes re - im, -(re + im), im.
    """
    torus, planes = TorusLayout(twojmax), PlaneLayout(twojmax)
    lines = [
        "// From torus functions to the planes of the Wigner matrices u[j]: re, im, re + im (whole), and of the last",
        "// factor re - im, -(re + im), im (rows mb <= j/2; the others follow from u[j-mb][j-ma] = ± conj(u[mb][ma])).",
        "template <class Real>",
        "[[gnu::noinline]] void to_planes(const Vector<Real>* __restrict sums, Planes<Real>& planes) {",
        "    using V = Vector<Real>;",
        "    V* __restrict x0 = planes.factor[0];",
        "    V* __restrict x1 = planes.factor[1];",
        "    V* __restrict x2 = planes.factor[2];",
        "    V* __restrict y0 = planes.last[0];",
        "    V* __restrict y1 = planes.last[1];",
        "    V* __restrict y2 = planes.last[2];",
    ]
    for j, matrix in enumerate(wigner_matrices(twojmax)):
        lines.append(f"    // j = {j}/2")
        # elements with the same |P|, |Q| have the same sums but for a sign
        families: dict[tuple[int, int], list[tuple[int, int, int, int, list[float]]]] = {}
        for mb in range(j // 2 + 1):
            for ma in range(j + 1):
                p, q, series = torus_expansion(matrix[mb, ma])
                families.setdefault((abs(p), abs(q)), []).append((mb, ma, p, q, series))
        for (p, q), members in families.items():
            lines += _family(torus, planes, j, p, q, members)
    lines.append("}")
    operations = sum(line.count(" * Real(") + line.count("sum = re + im") * 4 for line in lines)
    lines += ["", "// multiply-adds, and four additions per element", f"constexpr int map_operations = {operations};"]
    return lines


def _family(torus: TorusLayout, planes: PlaneLayout, j: int, p: int, q: int, members: list) -> list[str]:
    reference = members[0][4]
    kept = [(k, c) for k, c in enumerate(reference) if abs(c) > 1e-14]
    lines = ["    {"]
    for name, p_part, q_part in (("rr", 0, 0), ("ir", 1, 0), ("ri", 0, 1), ("ii", 1, 1)):
        if (p_part and not p) or (q_part and not q):
            continue
        terms = [f"sums[{torus.index(p, p_part, q, q_part, k)}] * Real({c!r})" for k, c in kept]
        lines.append(f"        const V {name} = {' + '.join(terms)};")
    for mb, ma, power_a, power_b, series in members:
        sign = _common_sign(series, reference)
        # (a*)^P (b*)^Q: the imaginary parts change sign where the power is one of the conjugate
        of_a, of_b = (-1 if power_a > 0 else 1), (-1 if power_b > 0 else 1)
        real = _signed([(sign, "rr", True), (-sign * of_a * of_b, "ii", bool(p and q))])
        imaginary = _signed([(sign * of_a, "ir", bool(p)), (sign * of_b, "ri", bool(q))])
        whole = planes.whole[j] + mb * (j + 1) + ma
        half = planes.half[j] + mb * (j + 1) + ma
        mirrored = planes.whole[j] + (j - mb) * (j + 1) + j - ma
        lines.append(f"        {{  // u[{mb}][{ma}]")
        lines.append(f"            const V re = {real}, im = {imaginary}, sum = re + im, difference = re - im;")
        lines.append(f"            x0[{whole}] = re; x1[{whole}] = im; x2[{whole}] = sum;")
        lines.append(f"            y0[{half}] = difference; y1[{half}] = -sum; y2[{half}] = im;")
        if 2 * mb < j:
            if (ma + mb) % 2:
                lines.append(f"            x0[{mirrored}] = -re; x1[{mirrored}] = im; x2[{mirrored}] = -difference;")
            else:
                lines.append(f"            x0[{mirrored}] = re; x1[{mirrored}] = -im; x2[{mirrored}] = difference;")
        lines.append("        }")
    lines.append("    }")
    return lines


def _common_sign(series: list[float], reference: list[float]) -> int:
    """Elements of a family differ by a sign alone; anything else is a defect of the algebra."""
    for sign in (1, -1):
        if all(abs(x - sign * y) < 1e-13 for x, y in zip(series, reference, strict=True)):
            return sign
    raise ArithmeticError(f"expected Wigner functions equal up to a sign, got {series} and {reference}")


def _signed(terms: list[tuple[int, str, bool]]) -> str:
    text = " ".join(f"{'+' if sign > 0 else '-'} {name}" for sign, name, there in terms if there)
    if not text:
        return "V{}"
    return text[2:] if text.startswith("+") else text.replace("- ", "-", 1)
