// The card of one image: its picture, its answer, and the parts that open on demand.

import { showBars } from "./bars.js";
import { EvidenceMap } from "./evidence.js";
import { showNeighbours } from "./neighbours.js";
import { measured } from "./numbers.js";
import { json, send } from "./requests.js";

const template = document.querySelector("#card-template");

function notice(text, kind = "notice") {
  const paragraph = document.createElement("p");
  paragraph.className = kind;
  paragraph.textContent = text;
  return paragraph;
}

export class Card {
  prediction;
  #file;
  #model;
  #page;
  #address;

  constructor(file, model, page) {
    this.#file = file;
    this.#model = model;
    this.#page = page;
    this.node = template.content.firstElementChild.cloneNode(true);
    this.name = file.name || "pasted image";
    this.#find("h3").textContent = this.name;
    this.#find(".verdict").textContent = "waiting ...";
    for (const name of ["brightness", "contrast"]) {
      this.#find(`.${name}`).addEventListener("input", () => this.#applyLooks());
    }
    this.map = new EvidenceMap(this.node, file, model);
    page.prevalence.addEventListener("change", () => this.#showWorth());
  }

  async load() {
    try {
      if (this.#file.size > this.#page.bodyBytes) throw new Error(`larger than ${this.#page.bodyBytes / 2 ** 20} MB`);
      if (!this.#file.size) throw new Error("the file is empty");
      const answer = await json(await send("classify", this.#file, { model: this.#model.name }));
      this.prediction = answer.predictions[0];
      if (this.prediction.error) throw new Error(this.prediction.error);
      this.#show();
      await this.#showPicture();
    } catch (error) {
      this.prediction ??= { path: this.name, label: "", probabilities: {}, error: error.message };
      this.#fail(error.message);
    }
  }

  remove() {
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.node.remove();
  }

  #find(selector) {
    return this.node.querySelector(selector);
  }

  #fail(message) {
    this.#find(".verdict").textContent = this.prediction.label || "not read";
    this.#find(".notices").append(notice(message, "error"));
    if (this.prediction.label) return;
    this.node.classList.add("unread");
    for (const part of [".view", ".looks"]) this.#find(part).hidden = true;
  }

  #show() {
    const { label, familiar, cannot_say: cannotSay } = this.prediction;
    this.#find(".verdict").textContent = cannotSay ? "cannot say" : label;
    this.#showNotices();
    showBars(this.#find(".bars"), this.prediction, this.#model.threshold);
    this.#find(".measured-line").textContent = measured(this.#model);
    this.#showWorth();
    if (familiar === false) this.#hideAnswer();
    else this.#offerMap();
    if (this.#model.neighbours) this.#offerNeighbours();
  }

  #showNotices() {
    const texts = [];
    const { known, familiar, distance_percentile: percentile, frames } = this.prediction;
    if (this.#isCopy) {
      texts.push(`The model was trained on a copy of this image: its answer proves nothing. (${known.path}, ${known.label})`);
    }
    if (this.prediction.cannot_say) {
      const set = this.prediction.prediction_set.join(" or ") || "no class is likely enough";
      const rate = Number((this.#model.cannot_say.error_rate * 100).toPrecision(6));
      texts.push(`Cannot say: ${set}. The model answers only so that at most ${rate} % of pictures like the training pictures get a wrong answer.`);
    }
    if (familiar === false) {
      const far = `farther away than ${Math.floor(percentile)} % of these are`;
      texts.push(`This image is not like the training pictures (${far}): an answer means nothing.`);
    }
    if (frames) texts.push(`The first of ${frames} frames was taken.`);
    this.#find(".notices").replaceChildren(...texts.map((text) => notice(text)));
  }

  // Without a copy, the path of the training image is empty.
  get #isCopy() {
    return Boolean(this.prediction?.known?.path);
  }

  #offerMap() {
    if (this.#model.explains) this.map.offer(this.prediction.label);
  }

  // An answer on something never seen is shown only to those who ask for it.
  #hideAnswer() {
    const parts = [".bars", ".measured-line"].map((name) => this.#find(name));
    const button = this.#find(".reveal");
    const verdict = this.#find(".verdict");
    verdict.textContent = "no answer";
    for (const part of parts) part.hidden = true;
    button.hidden = false;
    button.addEventListener("click", () => {
      verdict.textContent = `${this.prediction.label} (do not believe it)`;
      for (const part of parts) part.hidden = false;
      button.hidden = true;
      // The map names the logit, so that it waits, too.
      this.#offerMap();
      verdict.tabIndex = -1;
      verdict.focus();
    });
  }

  // Sensitivity and specificity hold for new pictures like the test pictures, not for others.
  #showWorth() {
    const label = this.prediction?.label;
    const holds = label && !this.prediction.cannot_say && !this.#isCopy && this.prediction.familiar !== false;
    this.#find(".answer .worth").textContent = holds ? this.#page.prevalence.sentence(this.#model, label) : "";
  }

  async #showPicture() {
    const response = await send("picture", this.#file);
    if (!response.ok) return;
    this.#address = URL.createObjectURL(await response.blob());
    const image = this.#find("img");
    image.src = this.#address;
    image.alt = `${this.name}, as the model sees it: stretched to a square`;
  }

  #offerNeighbours() {
    const box = this.#find(".neighbours");
    box.hidden = false;
    const open = () => showNeighbours(box.querySelector(".nearest"), this.#file, this.#model);
    box.addEventListener("toggle", open, { once: true });
  }

  #applyLooks() {
    const [brightness, contrast] = [".brightness", ".contrast"].map((name) => this.#find(name).value);
    this.#find("img").style.filter = `brightness(${brightness}) contrast(${contrast})`;
  }
}
