import { Picture } from "view/picture";
import { drawSpectrum } from "view/spectrum";
import { csvText, cubeParts, fileName, save } from "view/downloads";

const at = (id) => document.getElementById(id);
const content = JSON.parse(at("content").textContent);
const KINDS = { elements: Uint8Array };
const minus = (text) => text.replaceAll("-", "−");
const colours = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Arrays by name; numbers of spectra are in float64, all others in float32, little end first.
function readArrays() {
  const arrays = {};
  for (const block of document.querySelectorAll('script[type="application/octet-stream"]')) {
    const text = atob(block.textContent), bytes = new Uint8Array(text.length);
    for (let n = 0; n < text.length; n++) bytes[n] = text.charCodeAt(n);
    const Kind = KINDS[block.id] ?? (block.id.startsWith("spectrum") ? Float64Array : Float32Array);
    arrays[block.id] = new Kind(bytes.buffer);
    block.remove();
  }
  return arrays;
}

function writeHead() {
  const pieces = content.formula.split(/(\d+)/);
  if (content.formula.length > 60) at("formula").textContent = content.formula;
  else at("formula").append(...pieces.map((piece) => (/^\d+$/.test(piece) ? element("sub", piece) : piece)));
  const count = content.atoms.toLocaleString("en");
  const volume = content.volume_A3.toLocaleString("en", { maximumFractionDigits: 1 });
  at("subtitle").textContent = `${content.name} · ${count} atom${content.atoms === 1 ? "" : "s"} · ${volume} Å³`;
  const total = content.terms.find((term) => term.name === "total");
  const bars = { energy: content.energyDeviation_eV_per_atom, level: content.fermiLevelDeviation_eV };
  const bar = (value) => (value === null ? "" : ` ± ${twoDigits(1e3 * value)} meV`);
  const figures = [];
  if (total) figures.push(["Free energy per atom", minus((total.eV / content.atoms).toFixed(4)), ` eV${bar(bars.energy)}`]);
  if (content.fermiLevel_eV !== null) figures.push(["Fermi level", minus(content.fermiLevel_eV.toFixed(3)), ` eV${bar(bars.level)}`]);
  if (content.temperature_K !== null) figures.push(["Electrons at", `${content.temperature_K}`, " K"]);
  for (const [what, score] of Object.entries(content.scores)) {
    figures.push([what === "descriptors" ? "Distance to training" : "Radial distribution", score.toFixed(1), " × validation"]);
  }
  for (const [label, value, unit] of figures) {
    const box = element("div"), number = element("dd", value);
    number.append(element("small", unit));
    box.append(element("dt", label), number);
    at("figures").append(box);
  }
  const notes = [];
  const far = Object.entries(content.scores).filter(([, score]) => score > content.warningScore);
  if (far.length) {
    const which = far.map(([what, score]) => `${what} ${score.toFixed(1)}`).join(", ");
    notes.push(`Outside the training set (1 is as far as validation snapshots are): ${which}. Expect larger errors.`);
  }
  if (content.unscreenedIsWrong) {
    notes.push(`Unscreened charge in long waves: the free energy may be off by ${(1e3 * content.unscreened_eV_per_atom).toFixed(1)} meV/atom.`);
  }
  if (content.atomsRule) notes.push(`Shown: ${content.atomsRule}.`);
  at("notes").append(...notes.map((text) => element("li", text)));
  at("notes").hidden = notes.length === 0;
}

const NAMES = {
  band: "band energy", hartree: "Hartree energy", xc: "exchange-correlation", xc_potential: "its potential's energy",
  ion: "ions", entropy: "entropy, −TS", broadening: "left by the broadening", total: "free energy",
};

function writeEnergies() {
  if (!content.terms.length) return;
  at("energy-card").hidden = false;
  const compared = content.terms.some((term) => term.other_eV !== null), head = element("tr");
  for (const text of compared ? ["", "eV/atom", "Δ meV/atom"] : ["", "eV", "eV/atom"]) head.append(element("th", text, { scope: "col" }));
  const thead = element("thead"), body = element("tbody");
  thead.append(head);
  for (const { name, sign, eV, other_eV } of content.terms) {
    const row = element("tr"), signed = sign * eV;
    row.append(element("th", (sign < 0 ? "− " : "") + NAMES[name], { scope: "row" }));
    if (!compared) row.append(element("td", minus(signed.toFixed(3))));
    row.append(element("td", minus((signed / content.atoms).toFixed(4))));
    if (compared) row.append(element("td", minus(((1e3 * (signed - sign * other_eV)) / content.atoms).toFixed(2))));
    body.append(row);
  }
  at("terms").append(thead, body);
  const parts = [];
  if (compared) parts.push(`Δ: this one minus ${content.other}.`);
  if (content.energyDeviation_eV_per_atom !== null) {
    parts.push(`The model's own standard deviation: ${twoDigits(1e3 * content.energyDeviation_eV_per_atom)} meV/atom.`);
  }
  if (content.unscreened_eV_per_atom !== null) {
    parts.push(`Unscreened charge in waves beyond 10 Å: ${(1e3 * content.unscreened_eV_per_atom).toFixed(2)} meV/atom.`);
  }
  at("energy-hint").textContent = parts.join(" ");
}

function writeOrigin() {
  for (const [name, text] of content.origin) {
    const row = element("tr");
    row.append(element("td", name), element("td", text));
    at("origin").append(row);
  }
  at("settings").textContent = JSON.stringify(content.settings, null, 2);
}

function writeSpectrum(arrays) {
  if (!content.spectra.length || content.spectra[0].key !== "spectrum") return;
  at("dos-card").hidden = false;
  const series = content.spectra.map((one) => ({ ...one, energies: arrays[`${one.key}-energies`], dos: arrays[`${one.key}-dos`] }));
  const kT = content.boltzmann_eV_per_K * (content.temperature_K ?? 0);
  drawSpectrum(at("dos"), series, kT, (text) => { at("dos-value").textContent = text; });
}

// Two digits that count, without an exponent: 340, 41, 1.5.
const twoDigits = (value) => Number(value.toPrecision(2)).toString();

const digits = (value) => minus(Math.abs(value) < 1e-3 && value !== 0 ? value.toExponential(1) : value.toPrecision(3));

// Both ends of a range with as many digits as tell them apart.
function endsOf([low, high]) {
  const size = Math.max(Math.abs(low), Math.abs(high)), places = Math.ceil(Math.log10(size / (high - low))) + 2;
  const count = Number.isFinite(places) ? Math.min(Math.max(places, 3), 9) : 3;
  return [low, high].map((value) => (Math.abs(value) < 1e-3 ? digits(value) : minus(value.toPrecision(count))));
}

function colourBar({ label, unit, range, signed }, marks) {
  const bar = element("div", undefined, { class: "bar" }), track = element("div", undefined, { class: "track" });
  const strip = element("canvas", undefined, { width: 256, height: 1 }), map = content.maps[signed ? "sign" : "size"];
  const brush = strip.getContext("2d"), image = brush.createImageData(256, 1);
  map.forEach(([r, g, b], n) => image.data.set([r, g, b, 255], 4 * n));
  brush.putImageData(image, 0, 0);
  track.append(strip);
  for (const mark of marks) {
    const part = (mark - range[0]) / (range[1] - range[0]);
    if (!(part >= 0 && part <= 1)) continue;
    const line = element("span", undefined, { class: "mark" });
    line.style.left = `${100 * part}%`;
    track.append(line);
  }
  const ends = element("div", undefined, { class: "ends" });
  ends.append(...endsOf(range).map((text) => element("span", text)));
  bar.append(element("div", `${label} (${unit})`, { class: "name" }), track, ends);
  return bar;
}

function start() {
  writeHead();
  writeEnergies();
  writeOrigin();
  const arrays = readArrays();
  writeSpectrum(arrays);
  const drawable = document.createElement("canvas").getContext("webgl2") !== null;
  at("no-picture").hidden = drawable;
  at("controls").hidden = !drawable;
  at("no-picture").textContent = "This browser has no WebGL 2, which the picture needs. The rest of the page does without.";
  const picture = drawable ? new Picture(at("picture"), content, arrays, colours) : null;
  const downloads = at("downloads");
  const offer = (label, act) => {
    const button = element("button", label, { type: "button" });
    button.addEventListener("click", act);
    downloads.append(button);
  };
  if (picture) {
    connect(picture);
    offer("Picture (PNG)", () => savePicture(picture.draw()));
  }
  if (!content.atomsRule) {
    const numbers = Array.from(arrays.elements, (index) => content.elements[index].number);
    for (const { key, label } of content.fields) {
      const title = key === "density" ? "electronic density" : label;
      offer(`${key === "density" ? "Density" : "Difference"} (cube)`, () => save(
        cubeParts(content, arrays[key], arrays.positions, numbers, title), "text/plain", fileName(content.name, `${key}.cube`)));
    }
  }
  if (arrays["spectrum-dos"]) {
    offer("DOS (CSV)", () => save(
      [csvText(arrays["spectrum-energies"], arrays["spectrum-dos"])], "text/csv", fileName(content.name, "dos.csv")));
  }
}

// The picture with its legend, as it stands on the page.
function savePicture(canvas) {
  const whole = element("canvas", undefined, { width: canvas.width, height: canvas.height }), brush = whole.getContext("2d");
  const frame = canvas.getBoundingClientRect(), scale = canvas.width / frame.width;
  brush.drawImage(canvas, 0, 0);
  brush.scale(scale, scale);
  brush.translate(-frame.left, -frame.top);
  brush.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  brush.textBaseline = "middle";
  for (const part of at("legend").querySelectorAll("canvas, i, span, .name")) {
    const box = part.getBoundingClientRect(), style = getComputedStyle(part);
    if (part.tagName === "CANVAS") brush.drawImage(part, box.left, box.top, box.width, box.height);
    else if (part.className === "mark" || part.tagName === "I") {
      brush.fillStyle = style.backgroundColor;
      brush.beginPath();
      if (part.tagName === "I") brush.arc(box.left + box.width / 2, box.top + box.height / 2, box.width / 2, 0, 2 * Math.PI);
      else brush.rect(box.left, box.top, box.width, box.height);
      brush.fill();
    } else if (part.children.length === 0) {
      brush.fillStyle = style.color;
      brush.fillText(part.textContent, box.left, box.top + box.height / 2);
    }
  }
  whole.toBlob((blob) => save([blob], "image/png", fileName(content.name, "picture.png")), "image/png");
}

function connect(picture) {
  const form = at("controls"), { fields, colourings } = content;
  at("field-choice").hidden = fields.length < 2;
  for (const field of fields) {
    const label = element("label");
    const input = element("input", undefined, { type: "radio", name: "field", value: field.key });
    input.checked = field === fields[0];
    label.append(input, element("span", field.key === "density" ? "Density" : "Difference"));
    label.title = field.label;
    at("fields").append(label);
  }
  at("surface-controls").hidden = at("slice-controls").hidden = fields.length === 0;
  at("colouring").append(element("option", "element", { value: "" }));
  for (const { key, label } of colourings) at("colouring").append(element("option", label, { value: key }));
  at("cells-choice").hidden = 27 * content.atomsShown > 20000;
  at("cells").value = content.atomsShown <= 16 ? 2 : 1;
  if (content.grid) {
    const { shape, own } = content.grid, same = shape.every((n, axis) => n === own[axis]), grid = shape.join(" × ");
    at("grid").textContent = same
      ? `The density is shown on the prediction's own grid, ${grid} points.`
      : `The density is shown on ${grid} points, each the mean over its volume of the prediction's ${own.join(" × ")} points.`;
    at("grid").textContent += ` Near a nucleus: its mean with a Gaussian of ${content.nucleusWidth_A} Å.`;
  }
  const lengths = content.cell.map((row) => Math.hypot(...row));
  let last = null;

  function update() {
    const data = new FormData(form), key = data.get("field") ?? fields[0]?.key;
    const field = fields.find((one) => one.key === key) ?? null, slider = at("level");
    if (field && field !== last) { // every field has a level of its own
      slider.max = field.levels.length - 2;
      slider.value = field.start;
      last = field;
    }
    const step = Number(slider.value), axis = Number(data.get("axis") ?? 2), place = at("place").value / at("place").max;
    const cells = Number(at("cells").value);
    const state = {
      field, level: field?.levels[step], surface: at("surface").checked, slice: at("slice").checked, axis, place,
      cut: at("cut").checked, atoms: at("atoms").checked, cells,
      colouring: colourings.find((one) => one.key === at("colouring").value) ?? null,
    };
    if (field) {
      const flat = field.levels[0] === field.levels[field.levels.length - 1];
      state.surface &&= !flat;
      const inside = 100 * (1 - step / (field.levels.length - 1));
      const text = flat ? "the same everywhere"
        : `${field.signed ? "±" : ""}${digits(state.level)} 1/Å³ · ${inside.toFixed(inside < 10 ? 1 : 0)} % of the cell`;
      at("level-value").textContent = text;
      slider.setAttribute("aria-valuetext", text);
      slider.disabled = flat || !state.surface;
      at("place").disabled = !state.slice;
      const where = `${(place * cells * lengths[axis]).toFixed(2)} Å`;
      at("place-value").textContent = where;
      at("place").setAttribute("aria-valuetext", `${where} along ${"abc"[axis]}`);
    }
    picture.show(state);
    writeLegend(state);
  }

  function writeLegend({ field, level, surface, slice, atoms, colouring }) {
    const parts = [];
    if (field && (surface || slice)) parts.push(colourBar(field, !surface ? [] : field.signed ? [-level, level] : [level]));
    if (atoms && colouring) parts.push(colourBar(colouring, colouring.marks));
    else if (atoms) {
      parts.push(...content.elements.map(({ symbol, name, colour }) => {
        const entry = element("span", undefined, { class: "element", title: name }), dot = element("i");
        dot.style.background = colour;
        entry.append(dot, element("span", symbol));
        return entry;
      }));
    }
    at("legend").replaceChildren(...parts);
    at("picture").setAttribute("aria-label", `${content.formula}, ${content.atoms} atoms${field ? `, ${field.label}` : ""}`);
  }

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of form.querySelectorAll("[data-view]")) {
    const { view } = button.dataset;
    button.addEventListener("click", () => picture.look(view === "all" ? view : Number(view)));
  }
  update();
  picture.resize();
}

start();
