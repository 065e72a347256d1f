// The page Classify: where images come from, and the list of their cards.

import { Card } from "./card.js";
import { asCsv, asJson, save } from "./files.js";
import { Prevalence } from "./prevalence.js";
import { TaskQueue, models } from "./requests.js";

const find = (selector) => document.querySelector(selector);
const settings = find("#settings").dataset;
const page = {
  bodyBytes: Number(settings.bodyBytes),
  prevalence: new Prevalence(),
};
const queue = new TaskQueue();
const cards = [];
let finished = 0;

const all = await models();
let model = all.values().next().value;
page.prevalence.model = model;

function report() {
  const unread = cards.filter((card) => card.prediction?.error).length;
  const waiting = cards.length - finished;
  find("#status").textContent = cards.length
    ? `${finished} of ${cards.length} images done${waiting ? " ..." : ""}${unread ? `, ${unread} could not be read` : ""}`
    : "No image yet.";
  find("#tools").hidden = !cards.length;
}

function add(files) {
  const first = cards.length;
  for (const file of files) {
    const card = new Card(file, model, page);
    cards.push(card);
    find("#results").append(card.node);
    queue.add(async () => {
      await card.load();
      // Cards that were removed meanwhile do not count.
      if (cards.includes(card)) finished += 1;
      report();
    });
  }
  report();
  // On a phone the results begin far below.
  if (cards.length > first) cards[first].node.scrollIntoView({ block: "nearest" });
}

find("#files").addEventListener("change", (event) => {
  add([...event.target.files]);
  // The same file can be chosen again.
  event.target.value = "";
});
find("#picker").addEventListener("submit", (event) => event.preventDefault());

for (const type of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    find("#picker").classList.toggle("over", type === "dragover");
    if (type === "drop") add([...event.dataTransfer.files]);
  });
}
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));

for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", async () => {
    const name = `${button.dataset.example}.png`;
    const response = await fetch(`/examples/${name}`);
    add([new File([await response.blob()], `example-${name}`, { type: "image/png" })]);
  });
}

find("#model")?.addEventListener("change", (event) => {
  model = all.get(event.target.value);
  page.prevalence.model = model;
  for (const part of document.querySelectorAll(".measured")) part.hidden = part.dataset.model !== model.name;
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=range], [type=checkbox], [type=file]), select, textarea");
  if (event.key !== "m" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  for (const card of cards) card.map.toggle();
});

const results = () => cards.filter((card) => card.prediction).map((card) => card.prediction);
find("#save-csv").addEventListener("click", () => save("predictions.csv", "text/csv", asCsv(results())));
find("#save-json").addEventListener("click", () => save("predictions.json", "application/json", asJson(results())));
find("#clear").addEventListener("click", () => {
  for (const card of cards.splice(0)) card.remove();
  finished = 0;
  report();
  find("#files").focus();
});
document.body.dataset.ready = "true";
