// Files that the page makes: a picture, the density as a Gaussian cube, the density of states as CSV.
export function save(parts, kind, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export function fileName(name, what) { return `${name.replace(/[^\w.-]+/g, "_").slice(0, 60)}-${what}`; }

// A field in 1/bohr³ on the page's grid: one part of the file for each plane.
export function cubeParts(content, values, positions, numbers, title) {
  const bohr = content.bohr_A, [nx, ny, nz] = content.grid.shape;
  const length = (value) => (value / bohr).toFixed(12).padStart(19);
  const vector = (row) => row.map(length).join("");
  const { own } = content.grid, same = own.every((n, axis) => n === content.grid.shape[axis]);
  const origin = same ? "the prediction's grid" : `volume means of the prediction's ${own.join(" x ")} points`;
  const line = (text) => text.replace(/[^\x20-\x7e]+/g, " ").slice(0, 120);
  let head = `${line(title)} in 1/bohr^3, ${origin}\n${line(content.name)}, written by nearsight view\n`;
  head += `${String(numbers.length).padStart(5)}${vector([0, 0, 0])}\n`;
  content.cell.forEach((row, axis) => {
    const n = [nx, ny, nz][axis];
    head += `${String(n).padStart(5)}${vector(row.map((value) => value / n))}\n`;
  });
  const parts = [head], lines = [];
  numbers.forEach((number, n) => {
    const place = vector(Array.from(positions.subarray(3 * n, 3 * n + 3)));
    lines.push(`${String(number).padStart(5)} ${number.toFixed(6).padStart(12)}${place}\n`);
  });
  parts.push(lines.join(""));
  for (let row = 0; row < nx * ny; row++) {
    let text = "";
    for (let k = 0; k < nz; k++) {
      const value = (values[row * nz + k] * bohr ** 3).toExponential(8).toUpperCase().replace(/E([+-])(\d)$/, "E$10$2");
      text += (value[0] === "-" ? " " : "  ") + value + (k % 6 === 5 || k === nz - 1 ? "\n" : "");
    }
    parts.push(text);
  }
  return parts;
}

export function csvText(energies, dos) {
  let text = "energy_eV,dos_per_eV\n";
  energies.forEach((energy, n) => { text += `${energy},${dos[n]}\n`; });
  return text;
}
