// Bars of probabilities: the number is text, the bar is for the eye alone.

import { percent } from "./numbers.js";

function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

// The answer comes first: below a threshold it is not the likeliest class.
export function showBars(list, { label, probabilities }, threshold) {
  const names = Object.keys(probabilities);
  names.sort((a, b) => (b === label) - (a === label) || probabilities[b] - probabilities[a]);
  list.replaceChildren(
    ...names.map((name) => {
      const share = probabilities[name];
      const row = document.createElement("li");
      const track = element("div", "track");
      track.setAttribute("aria-hidden", "true");
      const fill = element("div", "fill");
      fill.style.width = `${100 * share}%`;
      track.append(fill);
      const number = element("span", "number", percent(share));
      number.dataset.value = share;
      number.title = share;
      row.append(element("span", "name", name), track, number);
      if (threshold && threshold.class === name) {
        const mark = element("div", "mark");
        mark.style.left = `${100 * threshold.value}%`;
        track.append(mark);
        row.append(element("span", "mark-note", `mark: from ${percent(threshold.value)} on, the answer is "${name}"`));
      }
      return row;
    }),
  );
}
