// The card of one image: its picture, its answer, and the parts that open on demand.

import { showBars } from "./bars.js";
import { EvidenceMap } from "./evidence.js";
import { showNeighbours } from "./neighbours.js";
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
    const { label, probabilities, familiar } = this.prediction;
    this.#find(".verdict").textContent = label;
    this.#showNotices();
    showBars(this.#find(".bars"), probabilities, this.#model.threshold);
    this.#showWorth();
    if (familiar === false) this.#hideAnswer();
    if (this.#model.explains) this.map.offer();
    if (this.#model.neighbours) this.#offerNeighbours();
  }

  #showNotices() {
    const texts = [];
    const { known } = this.prediction;
    // Without a copy, the path of the training image is empty.
    if (known?.path) {
      texts.push(`A copy of this image was trained on: the answer proves nothing. (${known.path}, ${known.label})`);
    }
    if (this.prediction.familiar === false) {
      texts.push("This image is not like anything the model was trained on: its answer means nothing.");
    }
    this.#find(".notices").replaceChildren(...texts.map((text) => notice(text)));
  }

  // An answer on something never seen is shown only to those who ask for it.
  #hideAnswer() {
    const parts = [".bars", ".worth"].map((name) => this.#find(name));
    const button = this.#find(".reveal");
    const verdict = this.#find(".verdict");
    verdict.textContent = "no answer";
    for (const part of parts) part.hidden = true;
    button.hidden = false;
    button.addEventListener("click", () => {
      verdict.textContent = `${this.prediction.label} (do not believe it)`;
      for (const part of parts) part.hidden = false;
      button.hidden = true;
      verdict.tabIndex = -1;
      verdict.focus();
    });
  }

  #showWorth() {
    const label = this.prediction?.label;
    this.#find(".answer .worth").textContent = label ? this.#page.prevalence.sentence(label) : "";
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
