// Results as files, made in the browser.

// Text that a spreadsheet would compute gets an apostrophe, as in the CSV files of the program.
function cell(value) {
  let text = String(value);
  if (typeof value === "string" && /^\s*[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const SETS = ["cannot_say", "prediction_set"];
const GUARDS = ["known", "known_path", "known_label", "familiar", "distance_percentile"];

// What the guards say about an answer; empty where they know nothing.
function guards({ known, familiar, distance_percentile: percentile }) {
  const copy = known ? [known.level, known.path, known.label] : ["", "", ""];
  const like = familiar == null ? ["", ""] : [familiar ? "yes" : "no", percentile.toFixed(2)];
  return [...copy, ...like];
}

// Which classes are likely enough; empty where the head has no error rate.
function sets({ cannot_say: cannotSay, prediction_set: classes }) {
  return classes == null ? ["", ""] : [cannotSay ? "yes" : "no", JSON.stringify(classes)];
}

// The columns are those of `freezeframe predict --format csv`; probabilities have all digits.
export function asCsv(predictions) {
  const names = [...new Set(predictions.flatMap((prediction) => Object.keys(prediction.probabilities)))];
  const header = ["path", "label", ...names.map((name) => `p_${name}`), ...SETS, ...GUARDS, "error"];
  const rows = predictions.map((prediction) => [
    prediction.path,
    prediction.label,
    ...names.map((name) => prediction.probabilities[name] ?? ""),
    ...sets(prediction),
    ...guards(prediction),
    prediction.error ?? "",
  ]);
  return [header, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

export function asJson(predictions) {
  return `${JSON.stringify(predictions, null, 2)}\n`;
}

export function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
