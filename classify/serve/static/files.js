// Results as files, made in the browser.

// Text that a spreadsheet would compute gets an apostrophe, as in the CSV files of the program.
function cell(value) {
  let text = String(value);
  if (typeof value === "string" && /^\s*[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function asCsv(predictions) {
  const names = [...new Set(predictions.flatMap((prediction) => Object.keys(prediction.probabilities)))];
  const header = ["path", "label", ...names.map((name) => `p_${name}`), "error"];
  const rows = predictions.map((prediction) => [
    prediction.path,
    prediction.label,
    ...names.map((name) => prediction.probabilities[name] ?? ""),
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
