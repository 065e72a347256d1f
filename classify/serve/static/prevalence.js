// The prevalence that the user sets, by a slider of its logarithm or as a number.

import { npv, ppv, scoreOf, worth } from "./numbers.js";

const box = document.querySelector("#prevalence-box");
const slider = document.querySelector("#prevalence");
const number = document.querySelector("#prevalence-number");
const text = document.querySelector("#worth");

export class Prevalence extends EventTarget {
  #model;

  constructor() {
    super();
    slider.addEventListener("input", () => {
      number.value = (100 * 10 ** slider.value).toPrecision(3) * 1;
      this.#changed();
    });
    number.addEventListener("input", () => {
      if (!number.validity.valid || number.value === "") return;
      slider.value = Math.log10(number.value / 100);
      this.#changed();
    });
  }

  get value() {
    return number.value / 100;
  }

  set model(model) {
    this.#model = model;
    box.hidden = !scoreOf(model);
    this.#changed();
  }

  // A sentence on an answer of the model; "" where nothing was measured.
  sentence(label) {
    const score = this.#model && scoreOf(this.#model);
    if (!score) return "";
    const isPositive = label === this.#model.positive;
    const share = worth(isPositive ? ppv : npv, score, this.value);
    return `If ${number.value} in 100 have ${this.#model.positive}, ${share} of the answers "${label}" are right.`;
  }

  #changed() {
    slider.setAttribute("aria-valuetext", `${number.value} per cent`);
    text.textContent = this.#model ? this.#model.classes.map((label) => this.sentence(label)).join(" ") : "";
    this.dispatchEvent(new Event("change"));
  }
}
