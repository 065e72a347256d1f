// The prevalence that the user sets, by a slider of its logarithm or as a number.

import { npv, ppv, scoreOf, worth } from "./numbers.js";

const box = document.querySelector("#prevalence-box");
const slider = document.querySelector("#prevalence");
const number = document.querySelector("#prevalence-number");
const text = document.querySelector("#worth");
const question = document.querySelector("#prevalence-class");

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
    if (model.positive) question.textContent = model.positive;
    this.#changed();
  }

  // A sentence on an answer of a model; "" where nothing was measured.
  sentence(model, label) {
    if (!scoreOf(model)) return "";
    const [share, name] = this.#worth(model, label);
    return `${this.#condition(model)}, ${share} of the answers "${label}" are right (${name}).`;
  }

  #condition(model) {
    return `If ${number.value} in 100 have ${model.positive}`;
  }

  #worth(model, label) {
    const isPositive = label === model.positive;
    return [worth(isPositive ? ppv : npv, scoreOf(model), this.value), isPositive ? "PPV" : "NPV"];
  }

  // Both answers; of several test sets, the first one counts.
  #summary(model) {
    const score = scoreOf(model);
    if (!score) return "";
    const others = model.classes.filter((label) => label !== model.positive);
    const [first, ...rest] = [model.positive, ...others].map((label) => {
      const [share, name] = this.#worth(model, label);
      return { share, of: `of the answers "${label}"`, name };
    });
    const more = rest.map(({ share, of, name }) => `, and ${share} ${of} (${name})`).join("");
    const by = model.scores.length > 1 ? `, by the scores on ${score.test_set}, ${score.split}` : "";
    return `${this.#condition(model)}, ${first.share} ${first.of} are right (${first.name})${more}${by}.`;
  }

  #changed() {
    slider.setAttribute("aria-valuetext", `${number.value} per cent`);
    text.textContent = this.#model ? this.#summary(this.#model) : "";
    this.dispatchEvent(new Event("change"));
  }
}
