// Surfaces of equal value of a periodic field, by marching cubes with the tables of three.js.
import { edgeTable, triTable } from "three/MarchingCubes";

// Edges of a cube in the order of the tables: axis, and the corner where each begins.
const EDGES = [
  [0, [0, 0, 0]], [1, [1, 0, 0]], [0, [0, 1, 0]], [1, [0, 0, 0]], [0, [0, 0, 1]], [1, [1, 0, 1]],
  [0, [0, 1, 1]], [1, [0, 0, 1]], [2, [0, 0, 0]], [2, [1, 0, 0]], [2, [1, 1, 0]], [2, [0, 1, 0]],
];

class Growing {
  constructor(Kind) { this.array = new Kind(1 << 14); this.length = 0; }
  push(a, b, c) {
    if (this.length + 3 > this.array.length) {
      const larger = new this.array.constructor(2 * this.array.length);
      larger.set(this.array);
      this.array = larger;
    }
    this.array[this.length++] = a; this.array[this.length++] = b; this.array[this.length++] = c;
  }
  whole() { return this.array.slice(0, this.length); }
}

// Triangles where a field has a value, in the cell from point 0 to the periodic image of point 0.
// values: shape [nx, ny, nz], z fastest; cell: rows in Å; inverse: of the cell. Normals point to lower values.
export function isosurface(values, shape, cell, inverse, level) {
  const [nx, ny, nz] = shape, wide = nz + 1, slab = (ny + 1) * wide;
  const positions = new Growing(Float32Array), normals = new Growing(Float32Array), triangles = new Growing(Uint32Array);
  // vertices already made on the edges of two neighbouring planes of x: [plane][axis][j, k]
  let made = [0, 1].map(() => [0, 1, 2].map(() => new Int32Array(slab).fill(-1)));
  const at = (i, j, k) => values[((i % nx) * ny + (j % ny)) * nz + (k % nz)];

  function slope(i, j, k) { // by fractional coordinates, from neighbours on both sides
    return [
      (at(i + 1, j, k) - at(i + nx - 1, j, k)) * nx / 2,
      (at(i, j + 1, k) - at(i, j + ny - 1, k)) * ny / 2,
      (at(i, j, k + 1) - at(i, j, k + nz - 1)) * nz / 2,
    ];
  }

  function vertex(i, j, k, axis, plane) {
    const place = j * wide + k, known = made[plane][axis][place];
    if (known >= 0) return known;
    const end = [i, j, k];
    end[axis] += 1;
    const low = at(i, j, k), high = at(...end), part = (level - low) / (high - low);
    const fraction = [i, j, k];
    fraction[axis] += part;
    const f = [fraction[0] / nx, fraction[1] / ny, fraction[2] / nz];
    const first = slope(i, j, k), second = slope(...end);
    const g = first.map((value, n) => value + part * (second[n] - value));
    const r = [0, 1, 2].map((n) => f[0] * cell[0][n] + f[1] * cell[1][n] + f[2] * cell[2][n]);
    const d = inverse.map((row) => -(row[0] * g[0] + row[1] * g[1] + row[2] * g[2]));
    const size = Math.hypot(...d) || 1;
    positions.push(...r);
    normals.push(d[0] / size, d[1] / size, d[2] / size);
    return (made[plane][axis][place] = positions.length / 3 - 1);
  }

  const found = new Int32Array(12);
  for (let i = 0; i < nx; i++) {
    const here = i * ny * nz, next = ((i + 1) % nx) * ny * nz;
    for (let j = 0; j < ny; j++) {
      const row = j * nz, after = ((j + 1) % ny) * nz;
      for (let k = 0; k < nz; k++) {
        const up = (k + 1) % nz;
        let code = 0;
        if (values[here + row + k] < level) code |= 1;
        if (values[next + row + k] < level) code |= 2;
        if (values[next + after + k] < level) code |= 4;
        if (values[here + after + k] < level) code |= 8;
        if (values[here + row + up] < level) code |= 16;
        if (values[next + row + up] < level) code |= 32;
        if (values[next + after + up] < level) code |= 64;
        if (values[here + after + up] < level) code |= 128;
        const cut = edgeTable[code];
        if (cut === 0) continue;
        for (let edge = 0; edge < 12; edge++) {
          if (!(cut & (1 << edge))) continue;
          const [axis, [di, dj, dk]] = EDGES[edge];
          found[edge] = vertex(i + di, j + dj, k + dk, axis, di);
        }
        for (let n = code << 4; triTable[n] !== -1; n += 3) {
          triangles.push(found[triTable[n]], found[triTable[n + 1]], found[triTable[n + 2]]);
        }
      }
    }
    made = [made[1], made[0]];
    for (const edges of made[1]) edges.fill(-1);
  }
  return { positions: positions.whole(), normals: normals.whole(), triangles: triangles.whole() };
}
