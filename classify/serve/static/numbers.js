// Shares as text, and what an answer is worth at a prevalence.

export function percent(share) {
  const value = 100 * share;
  // "0.0 %" and "100.0 %" would claim certainty.
  if (value > 0 && value < 0.05) return "< 0.1 %";
  if (value < 100 && value > 99.95) return "> 99.9 %";
  return `${value.toFixed(1)} %`;
}

// How many answers "positive" are right (PPV), by Bayes' formula.
export function ppv(sensitivity, specificity, prevalence) {
  const right = sensitivity * prevalence;
  const all = right + (1 - specificity) * (1 - prevalence);
  return all > 0 ? right / all : NaN;
}

// How many answers "negative" are right (NPV).
export function npv(sensitivity, specificity, prevalence) {
  const right = specificity * (1 - prevalence);
  const all = right + (1 - sensitivity) * prevalence;
  return all > 0 ? right / all : NaN;
}

// A value between those at the lower and at the upper ends of both intervals.
export function worth(formula, score, prevalence) {
  const [value, low, high] = [0, 1, 2].map((end) =>
    formula(score.sensitivity[end], score.specificity[end], prevalence),
  );
  return Number.isNaN(value) ? "not defined" : share([value, low, high]);
}

const share = ([value, low, high]) => `${percent(value)} (${percent(low)} to ${percent(high)})`;

// What was measured of a model, in a line; the page has it all above the results.
export function measured(model) {
  const score = scoreOf(model) || model.scores.find(({ accuracy }) => accuracy);
  if (!score) return "No score of this model was measured.";
  const pair = score.sensitivity && score.specificity && model.classes.length === 2;
  const texts = pair
    ? [`sensitivity ${share(score.sensitivity)}`, `specificity ${share(score.specificity)}`]
    : [`accuracy ${share(score.accuracy)}`];
  const groups = score.n_groups ? ` in ${score.n_groups} independent groups` : "";
  const pictures = `${score.n_images ?? "?"} ${score.clean ? "unseen " : ""}pictures${groups}`;
  const doubt = score.clean ? "" : "; they may have copies among the training pictures";
  return `Measured: ${texts.join(", ")}, on ${pictures}${doubt} (grade: ${score.grade || "unknown"}).`;
}

// The scores from which PPV and NPV of a model follow; none where its positive class is unknown.
export function scoreOf(model) {
  if (!model.positive) return undefined;
  return model.scores.find((score) => score.sensitivity && score.specificity);
}
