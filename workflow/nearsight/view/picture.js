// The picture: atoms, surfaces of equal value and a slice of a field in the cell, drawn by three.js when something changes.
import * as THREE from "three";
import { OrbitControls } from "three/OrbitControls";
import { isosurface } from "view/surface";

// Pixels along a slice's longer side, at the least: between grid points values are interpolated, not colours.
const SLICE_PIXELS = 400;

const UP = new THREE.Vector3(0, 0, 1), TURN = Math.PI / 36, FIELD_OF_VIEW = 26;

export class Picture {
  // colours: reads a colour of the page's style; maps: 256 colours of a size and of a sign
  constructor(canvas, content, arrays, colours) {
    Object.assign(this, { canvas, content, arrays, colours });
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.cell = content.cell.map((row) => new THREE.Vector3(...row));
    this.inverse = invert(content.cell);
    this.scene = new THREE.Scene();
    this.crystal = new THREE.Group();
    this.scene.add(this.crystal, new THREE.HemisphereLight(0xffffff, 0xc8ccd2, 1.9));
    this.camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW, 1, 0.1, 10);
    this.camera.up.copy(UP);
    const lamp = new THREE.DirectionalLight(0xffffff, 1.7);
    lamp.position.set(-0.6, 0.9, 1);
    this.camera.add(lamp);
    this.scene.add(this.camera);
    this.beyond = new THREE.Plane();
    this.renderer.localClippingEnabled = true;
    this.state = {};
    this.parts = {};
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.addEventListener("change", () => this.ask());
    canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.box(); this.ask(); });
  }

  // Take a new state and make again what depends on what has changed.
  show(state) {
    const before = this.state, changed = (...keys) => keys.some((key) => before[key] !== state[key]);
    this.state = state;
    if (changed("cells")) { this.box(); this.look("all"); }
    if (changed("cells", "colouring", "atoms")) this.drawAtoms();
    if (changed("cells", "field", "level", "surface")) this.drawSurface();
    if (changed("cells", "field", "slice", "axis", "place")) this.drawSlice();
    if (changed("cells", "slice", "cut", "axis", "place")) this.clip();
    this.ask();
  }

  corner(...fraction) {
    return this.cell.reduce((sum, vector, axis) => sum.addScaledVector(vector, fraction[axis]), new THREE.Vector3());
  }

  *offsets() {
    const n = this.state.cells;
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) for (let k = 0; k < n; k++) yield this.corner(i, j, k);
  }

  replace(name, object) {
    const old = this.parts[name];
    if (old) {
      this.crystal.remove(old);
      old.traverse((each) => {
        each.geometry?.dispose();
        each.material?.map?.dispose();
        each.material?.dispose();
        if (each.isInstancedMesh) each.dispose();
      });
    }
    this.parts[name] = object;
    if (object) this.crystal.add(object);
  }

  box() {
    const points = [];
    for (let axis = 0; axis < 3; axis++) {
      for (const [u, v] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
        const fraction = [u, v];
        for (const end of [0, 1]) points.push(this.corner(...fraction.slice(0, axis), end, ...fraction.slice(axis)));
      }
    }
    const geometry = new THREE.BufferGeometry().setFromPoints(points);
    this.replace("box", new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color: this.colours("--box") })));
    this.scene.background = new THREE.Color(this.colours("--scene"));
  }

  drawAtoms() {
    const { positions, elements } = this.arrays, { colouring } = this.state;
    if (!this.state.atoms) return this.replace("atoms", null);
    const count = elements.length, cells = this.state.cells ** 3, total = count * cells;
    const ball = new THREE.IcosahedronGeometry(1, total > 40000 ? 0 : total > 5000 ? 1 : total > 500 ? 2 : 4);
    ball.setAttribute("normal", ball.getAttribute("position").clone());
    const material = new THREE.MeshStandardMaterial({ roughness: 0.55, metalness: 0 });
    const mesh = new THREE.InstancedMesh(ball, material, total);
    const kinds = this.content.elements.map((element) => new THREE.Color(element.colour));
    const scale = colouring && this.scale(colouring), values = colouring && this.arrays[colouring.key];
    const matrix = new THREE.Matrix4(), colour = new THREE.Color();
    let place = 0;
    for (const offset of this.offsets()) {
      for (let n = 0; n < count; n++, place++) {
        const radius = this.content.elements[elements[n]].radius_A;
        matrix.makeScale(radius, radius, radius);
        matrix.setPosition(positions[3 * n] + offset.x, positions[3 * n + 1] + offset.y, positions[3 * n + 2] + offset.z);
        mesh.setMatrixAt(place, matrix);
        if (scale) {
          const [r, g, b] = scale(values[n]);
          colour.setRGB(r / 255, g / 255, b / 255, THREE.SRGBColorSpace);
        }
        mesh.setColorAt(place, scale ? colour : kinds[elements[n]]);
      }
    }
    this.replace("atoms", mesh);
    this.clip();
  }

  // value -> [red, green, blue] of a field's or a colouring's range
  scale({ range: [low, high], signed }) {
    const map = this.content.maps[signed ? "sign" : "size"], width = high - low;
    return (value) => map[width > 0 ? Math.min(Math.max(Math.round((255 * (value - low)) / width), 0), 255) : 128];
  }

  drawSurface() {
    const { field, level } = this.state, group = new THREE.Group();
    if (!field || !this.state.surface) return this.replace("surface", null);
    const scale = this.scale(field), values = this.arrays[field.key];
    for (const value of field.signed ? [level, -level] : [level]) {
      const found = isosurface(values, this.content.grid.shape, this.content.cell, this.inverse, value);
      const geometry = new THREE.BufferGeometry();
      geometry.setAttribute("position", new THREE.BufferAttribute(found.positions, 3));
      geometry.setAttribute("normal", new THREE.BufferAttribute(found.normals, 3));
      geometry.setIndex(new THREE.BufferAttribute(found.triangles, 1));
      const [r, g, b] = scale(value);
      const material = new THREE.MeshStandardMaterial({
        side: THREE.DoubleSide, transparent: true, opacity: 0.72, roughness: 0.45, metalness: 0, forceSinglePass: false,
      });
      material.color.setRGB(r / 255, g / 255, b / 255, THREE.SRGBColorSpace);
      for (const offset of this.offsets()) {
        const mesh = new THREE.Mesh(geometry, material);
        mesh.position.copy(offset);
        group.add(mesh);
      }
    }
    this.replace("surface", group);
    this.clip();
  }

  drawSlice() {
    const { field, axis, place, cells } = this.state;
    if (!field || !this.state.slice) return this.replace("slice", null);
    const shape = this.content.grid.shape, [u, v] = [0, 1, 2].filter((other) => other !== axis);
    const strides = [shape[1] * shape[2], shape[2], 1], values = this.arrays[field.key], scale = this.scale(field);
    const depth = place * cells * shape[axis], below = Math.floor(depth), part = depth - below;
    const [first, second] = [below, below + 1].map((n) => (n % shape[axis]) * strides[axis]);
    const plane = new Float32Array(shape[u] * shape[v]);
    for (let j = 0; j < shape[v]; j++) {
      for (let i = 0; i < shape[u]; i++) {
        const point = i * strides[u] + j * strides[v];
        plane[j * shape[u] + i] = values[first + point] * (1 - part) + values[second + point] * part;
      }
    }
    const { pixels, width, height } = colourPlane(plane, shape[u], shape[v], scale);
    const texture = new THREE.DataTexture(pixels, width, height);
    Object.assign(texture, {
      colorSpace: THREE.SRGBColorSpace, magFilter: THREE.LinearFilter, minFilter: THREE.LinearFilter,
      wrapS: THREE.RepeatWrapping, wrapT: THREE.RepeatWrapping, needsUpdate: true,
    });
    const corners = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([s, t]) => {
      const fraction = [0, 0, 0];
      fraction[u] = s * cells; fraction[v] = t * cells; fraction[axis] = place * cells;
      return this.corner(...fraction);
    });
    const geometry = new THREE.BufferGeometry().setFromPoints(corners);
    // the middle of a texture's first element is point 0 of the grid
    const uv = [[0, 0], [1, 0], [1, 1], [0, 1]].flatMap(([s, t]) => [s * cells + 0.5 / width, t * cells + 0.5 / height]);
    geometry.setAttribute("uv", new THREE.Float32BufferAttribute(uv, 2));
    geometry.setIndex([0, 1, 2, 0, 2, 3]);
    this.replace("slice", new THREE.Mesh(geometry, new THREE.MeshBasicMaterial({ map: texture, side: THREE.DoubleSide })));
  }

  // Hide atoms and surfaces on the far side of the slice.
  clip() {
    const { axis, place, cells, slice, cut, field } = this.state, on = slice && cut && field;
    if (on) {
      const [u, v] = [0, 1, 2].filter((other) => other !== axis);
      const normal = new THREE.Vector3().crossVectors(this.cell[u], this.cell[v]).normalize();
      if (normal.dot(this.cell[axis]) > 0) normal.negate();
      const point = this.cell[axis].clone().multiplyScalar(place * cells).add(this.crystal.position);
      this.beyond.setFromNormalAndCoplanarPoint(normal, point);
    }
    for (const name of ["atoms", "surface"]) {
      this.parts[name]?.traverse((each) => { if (each.material) each.material.clippingPlanes = on ? [this.beyond] : []; });
    }
  }

  // Look at all, or along a lattice vector.
  look(which) {
    const n = this.state.cells, centre = this.corner(n / 2, n / 2, n / 2);
    this.crystal.position.copy(centre).negate();
    const corners = [0, 1].flatMap((i) => [0, 1].flatMap((j) => [0, 1].map((k) => this.corner(i * n, j * n, k * n).sub(centre))));
    this.radius = Math.max(...corners.map((corner) => corner.length()));
    const direction = which === "all" ? new THREE.Vector3(1.25, -1.9, 1.15) : this.cell[which].clone();
    if (which !== "all") direction.addScaledVector(UP, 1e-4 * direction.length());
    this.direction = direction.normalize();
    this.controls.target.set(0, 0, 0);
    this.fit();
  }

  fit() {
    const half = (FIELD_OF_VIEW * Math.PI) / 360, side = Math.atan(Math.tan(half) * Math.min(this.camera.aspect, 1));
    this.camera.position.copy(this.direction).multiplyScalar((0.98 * this.radius) / Math.sin(side));
    this.camera.near = this.radius / 50;
    this.camera.far = 60 * this.radius;
    this.camera.updateProjectionMatrix();
    this.controls.update();
    this.fitted = this.camera.position.clone();
    this.ask();
  }

  key(event) {
    const { camera, controls } = this, offset = camera.position.clone().sub(controls.target);
    const turn = { ArrowLeft: [-TURN, 0], ArrowRight: [TURN, 0], ArrowUp: [0, -TURN], ArrowDown: [0, TURN] }[event.key];
    const zoom = { "+": 0.9, "=": 0.9, "-": 1 / 0.9 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(turn || zoom || event.key === "Home")) return;
    event.preventDefault();
    if (event.key === "Home") return this.look("all");
    if (zoom) offset.multiplyScalar(zoom);
    if (turn) {
      const angle = offset.angleTo(UP), tilted = Math.min(Math.max(angle + turn[1], 1e-3), Math.PI - 1e-3);
      offset.applyAxisAngle(new THREE.Vector3().crossVectors(UP, offset).normalize(), tilted - angle);
      offset.applyAxisAngle(UP, turn[0]);
    }
    camera.position.copy(controls.target).add(offset);
    controls.update();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (!width || !height) return;
    const untouched = this.fitted && this.camera.position.equals(this.fitted);
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (untouched) this.fit();
    this.draw();
  }

  ask() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.asked = false;
    this.renderer.render(this.scene, this.camera);
    this.drawn = (this.drawn ?? 0) + 1;
    this.canvas.dataset.drawn = this.drawn;
    return this.canvas; // it keeps its picture only until the browser shows it
  }
}

// Colours of a periodic plane of nu times nv values (u fastest) on a grid that is finer by a whole number.
function colourPlane(plane, nu, nv, scale) {
  const times = Math.max(1, Math.ceil(SLICE_PIXELS / Math.max(nu, nv))), width = nu * times, height = nv * times;
  const pixels = new Uint8Array(4 * width * height);
  for (let y = 0, pixel = 0; y < height; y++) {
    const j = Math.floor(y / times), t = y / times - j, row = j * nu, after = ((j + 1) % nv) * nu;
    for (let x = 0; x < width; x++, pixel += 4) {
      const i = Math.floor(x / times), s = x / times - i, next = (i + 1) % nu;
      const value = (plane[row + i] * (1 - s) + plane[row + next] * s) * (1 - t)
        + (plane[after + i] * (1 - s) + plane[after + next] * s) * t;
      const [r, g, b] = scale(value);
      pixels[pixel] = r; pixels[pixel + 1] = g; pixels[pixel + 2] = b; pixels[pixel + 3] = 255;
    }
  }
  return { pixels, width, height };
}

function invert(rows) {
  const m = new THREE.Matrix3().set(...rows.flat()).invert().elements; // by columns
  return [0, 1, 2].map((i) => [m[i], m[i + 3], m[i + 6]]);
}
