// Requests to the API. Each image is a request of its own: a bad one harms no other.

const API = "/api/v1";
const MOST_TRIES = 20;
const SIDE_BY_SIDE = 2;

const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// Send one file to a path of the API; wait and try again while the server is busy.
export async function send(path, file, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const body = new FormData();
  body.append("image", file, file.name || "pasted image");
  for (let tries = 1; ; tries += 1) {
    let response;
    try {
      response = await fetch(`${API}/${path}${query ? `?${query}` : ""}`, { method: "POST", body });
    } catch {
      throw new Error("the server does not answer; is it still running?");
    }
    if (response.status === 503 && tries < MOST_TRIES) {
      await wait(Number(response.headers.get("Retry-After")) || 1);
    } else {
      return response;
    }
  }
}

// The JSON of an answer; a problem document becomes an error with its detail.
export async function json(response) {
  const value = await response.json();
  // An image that cannot be read has its reason in its own prediction.
  if (!response.ok && !value.predictions) throw new Error(value.detail || value.title);
  return value;
}

export async function models() {
  const { models: list } = await json(await fetch(`${API}/models`));
  return new Map(list.map((model) => [model.name, model]));
}

// A queue in which few tasks run at a time, in order.
export class TaskQueue {
  #waiting = [];
  #running = 0;

  add(task) {
    this.#waiting.push(task);
    this.#next();
  }

  async #next() {
    if (this.#running >= SIDE_BY_SIDE || !this.#waiting.length) return;
    this.#running += 1;
    await this.#waiting.shift()();
    this.#running -= 1;
    this.#next();
  }
}
