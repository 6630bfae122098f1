// The density of states as an SVG of the width that there is, with a reading at the pointer.
const HEIGHT = 210, LEFT = 40, RIGHT = 8, BOTTOM = 34;

function node(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function niceTicks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= raw);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) ticks.push(n * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return ticks.map((value) => [value, value.toFixed(digits).replace("-", "−")]);
}

// series: {label, energies, dos, atoms, fermiLevel_eV}, the first one's levels filled as at `kT` in eV; read: gets a text.
export function drawSpectrum(holder, series, kT, read) {
  const zero = series[0].fermiLevel_eV ?? 0, relative = series[0].fermiLevel_eV !== null;
  const curves = series.map(({ energies, dos, atoms, fermiLevel_eV }) => ({
    x: Array.from(energies, (energy) => energy - (relative ? fermiLevel_eV ?? zero : 0)),
    y: Array.from(dos, (value) => value / atoms),
  }));
  const { x, y } = curves[0], low = x[0], high = x[x.length - 1];
  let most = 0, least = 0;
  for (const curve of curves) for (const value of curve.y) { most = Math.max(most, value); least = Math.min(least, value); }
  most = most * 1.06 || 1;
  const TOP = curves.length > 1 ? 28 : 10; // room for names
  let width = 0, chosen = null, pointer = null;

  function draw() {
    width = holder.clientWidth;
    if (!width) return;
    const px = (value) => LEFT + ((value - low) / (high - low)) * (width - LEFT - RIGHT);
    const py = (value) => HEIGHT - BOTTOM - ((value - least) / (most - least)) * (HEIGHT - TOP - BOTTOM);
    const line = (xs, ys) => xs.map((value, n) => `${n ? "L" : "M"}${px(value).toFixed(1)} ${py(ys[n]).toFixed(1)}`).join("");
    const svg = node("svg", {
      height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, tabindex: 0, role: "img",
      "aria-label": "Density of states against energy; arrow keys read it",
    });
    for (const [value, text] of niceTicks(least, most, 4)) {
      svg.append(node("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: py(value), y2: py(value) }));
      svg.append(node("text", { x: LEFT - 6, y: py(value) + 4, "text-anchor": "end" }, text));
    }
    for (const [value, text] of niceTicks(low, high, width / 70)) {
      svg.append(node("text", { x: px(value), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, text));
    }
    const title = relative ? "energy above the Fermi level (eV)" : "energy (eV)";
    svg.append(node("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, title));
    if (relative) {
      const filled = y.map((value, n) => value / (1 + Math.exp(Math.min(x[n] / Math.max(kT, 1e-6), 500))));
      svg.append(node("path", { class: "occupied", d: `${line(x, filled)}L${px(high)} ${py(0)}L${px(low)} ${py(0)}Z` }));
    }
    curves.forEach((curve, n) => {
      const clipped = curve.x.map((value, m) => [value, curve.y[m]]).filter(([value]) => value >= low && value <= high);
      const d = line(clipped.map((pair) => pair[0]), clipped.map((pair) => pair[1]));
      svg.append(node("path", { class: n ? "curve second" : "curve", d }));
      if (curves.length > 1) {
        svg.append(node("text", { class: n ? "second" : "first", x: LEFT + (n * (width - LEFT)) / 2, y: 12 }, `${n ? "╌" : "—"} ${short(series[n].label)}`));
      }
    });
    if (relative && low < 0 && high > 0) {
      svg.append(node("line", { class: "level", x1: px(0), x2: px(0), y1: TOP, y2: HEIGHT - BOTTOM }));
      const beyond = px(0) + 90 > width;
      svg.append(node("text", { x: px(0) + (beyond ? -5 : 5), y: TOP + 9, "text-anchor": beyond ? "end" : "start" }, "Fermi level"));
    }
    pointer = node("line", { class: "pointer", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    svg.append(pointer);
    const show = (n) => {
      chosen = n === null ? null : Math.min(Math.max(n, 0), x.length - 1);
      pointer.setAttribute("visibility", chosen === null ? "hidden" : "visible");
      if (chosen === null) return read("per eV and atom");
      pointer.setAttribute("x1", px(x[chosen]));
      pointer.setAttribute("x2", px(x[chosen]));
      read(`${y[chosen].toPrecision(3)} at ${x[chosen].toFixed(2).replace("-", "−")} eV`);
    };
    const nearest = (event) => {
      const part = (event.clientX - svg.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT);
      show(Math.round(part * (x.length - 1)));
    };
    svg.addEventListener("pointermove", nearest);
    svg.addEventListener("pointerdown", nearest);
    svg.addEventListener("pointerleave", () => show(null));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const middle = Math.max(x.findIndex((value) => value >= 0), 0);
      show((chosen ?? middle) + step);
    });
    holder.replaceChildren(svg);
    show(null);
  }
  draw();
  new ResizeObserver(() => { if (holder.clientWidth !== width) draw(); }).observe(holder);
}

function short(text) { return text.length > 22 ? `${text.slice(0, 21)}…` : text; }
