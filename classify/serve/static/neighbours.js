// The training pictures that are nearest to an image, of each class.

import { json, send } from "./requests.js";

function figure(label, neighbour) {
  const made = document.createElement("figure");
  const image = document.createElement("img");
  image.src = neighbour.thumbnail;
  image.alt = `training picture of ${label}`;
  const caption = document.createElement("figcaption");
  caption.textContent = `likeness ${neighbour.similarity.toFixed(2)}`;
  made.append(image, caption);
  return made;
}

export async function showNeighbours(place, file, model) {
  place.textContent = "looking ...";
  try {
    const answer = await json(await send("neighbours", file, { model: model.name }));
    place.replaceChildren();
    for (const [label, neighbours] of Object.entries(answer.neighbours)) {
      const heading = document.createElement("h4");
      heading.textContent = label;
      place.append(heading, ...neighbours.map((neighbour) => figure(label, neighbour)));
    }
  } catch (error) {
    place.textContent = error.message;
  }
}
