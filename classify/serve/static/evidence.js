// The map of evidence over a picture: cells drawn as cells, on one fixed scale of the model.

import { json, send } from "./requests.js";

// The colours of the pictures of `freezeframe explain`: they are visible on black, too.
const FOR = [253, 150, 40];
const AGAINST = [150, 120, 235];

// The strongest cells in words, for those who do not see the map.
function strongest(map) {
  const cells = map.contributions.flatMap((row, y) => row.map((value, x) => ({ value, x, y })));
  cells.sort((a, b) => b.value - a.value);
  const place = ({ value, x, y }) => `row ${y + 1}, column ${x + 1} (${value.toPrecision(2)})`;
  const grid = `${map.contributions.length} x ${map.contributions[0].length} cells`;
  return `Of ${grid}, most for ${map.class}: ${place(cells[0])}; least: ${place(cells.at(-1))}.`;
}

export class EvidenceMap {
  #box;
  #canvas;
  #scale;
  #file;
  #model;
  #maps = new Map();

  constructor(card, file, model) {
    this.#box = card.querySelector(".map-box");
    this.#canvas = card.querySelector("canvas");
    this.#scale = card.querySelector(".scale");
    this.#file = file;
    this.#model = model;
  }

  // Show the closed box; the map for a class is computed when it is opened.
  offer(className) {
    this.#box.hidden = false;
    this.#box.addEventListener("toggle", () => this.#build(className), { once: true });
    this.#box.addEventListener("toggle", () => this.#setVisible(this.#box.open));
  }

  toggle() {
    if (this.#box.hidden) return;
    if (!this.#box.open) this.#box.open = true;
    else this.#setVisible(this.#canvas.hidden);
  }

  #setVisible(visible) {
    this.#canvas.hidden = !visible;
    this.#scale.hidden = !visible;
    const box = this.#box.querySelector(".map-on");
    if (box) box.checked = visible;
  }

  #build(className) {
    const controls = this.#box.querySelector(".controls");
    controls.append(this.#switch(), this.#opacity(), this.#classes(className));
    this.#draw(className);
  }

  #field(...parts) {
    const label = document.createElement("label");
    label.className = "field";
    label.append(...parts);
    return label;
  }

  #input(properties) {
    return Object.assign(document.createElement("input"), properties);
  }

  #switch() {
    const input = this.#input({ type: "checkbox", className: "map-on", checked: true });
    input.setAttribute("aria-keyshortcuts", "m");
    input.addEventListener("change", () => this.#setVisible(input.checked));
    return this.#field(input, "show the map (key m)");
  }

  #opacity() {
    const input = this.#input({ type: "range", min: 0, max: 1, step: 0.05, value: 0.6, className: "opacity" });
    const apply = () => (this.#canvas.style.opacity = input.value);
    input.addEventListener("input", apply);
    apply();
    return this.#field("opacity", input);
  }

  #classes(className) {
    const select = document.createElement("select");
    select.className = "map-class";
    for (const name of this.#model.classes) select.add(new Option(name, name, false, name === className));
    select.addEventListener("change", () => this.#draw(select.value));
    return this.#field("evidence for", select);
  }

  async #draw(className) {
    const note = this.#box.querySelector(".map-note");
    const reading = this.#box.querySelector(".map-reading");
    note.textContent = "computing the map ...";
    try {
      if (!this.#maps.has(className)) {
        const parameters = { model: this.#model.name, class: className };
        const answer = await json(await send("explain", this.#file, parameters));
        this.#maps.set(className, answer.explanations[0]);
      }
      // Another class may have been chosen meanwhile.
      if (this.#box.querySelector(".map-class").value !== className) return;
      const map = this.#maps.get(className);
      this.#paint(map);
      note.textContent = strongest(map);
      reading.textContent = map.note;
    } catch (error) {
      note.textContent = error.message;
      this.#setVisible(false);
    }
  }

  #paint(map) {
    const rows = map.contributions;
    this.#canvas.height = rows.length;
    this.#canvas.width = rows[0].length;
    const context = this.#canvas.getContext("2d");
    const pixels = context.createImageData(this.#canvas.width, this.#canvas.height);
    rows.flat().forEach((value, place) => {
      const share = Math.max(-1, Math.min(1, value / map.scale)) || 0;
      pixels.data.set([...(share > 0 ? FOR : AGAINST), Math.round(255 * Math.abs(share))], 4 * place);
    });
    context.putImageData(pixels, 0, 0);
    const ramp = `linear-gradient(to right, rgb(${AGAINST}), transparent, rgb(${FOR}))`;
    this.#scale.querySelector(".ramp").style.background = ramp;
    const digits = map.scale.toPrecision(2);
    this.#scale.querySelector(".low").textContent = `-${digits} against`;
    this.#scale.querySelector(".high").textContent = `for ${map.class} +${digits}`;
  }
}
