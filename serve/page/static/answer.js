// An answer of the endpoint, for people: verdict and doubt first, then what it rests on, then who answered.

import { element, percent, short, title } from "./dom.js";
import { bar, interval, meter, survivalCurve, years } from "./drawing.js";

/** The answer as elements, doubt before verdict. */
export function answerOf(response) {
  const { prediction, reliability } = response;
  const withheld = reliability?.abstain === true;
  const parts = [withheld ? abstention(reliability) : null, ...verdict(prediction, reliability)];
  return [
    element("div", { class: withheld ? "withheld" : "" }, ...parts),
    element("h3", {}, "What it rests on"),
    restsOn(response),
    ...warnings(response),
    response.synthetic ? element("p", { class: "note" }, "Trained on synthetic patients alone: no clinical meaning.") : null,
    provenance(response),
  ].filter((node) => node !== null);
}

/** The same in one sentence, to be read aloud. */
export function summaryOf({ prediction, reliability }) {
  const said = headline(prediction).filter(Boolean).join(", ");
  return reliability?.abstain ? `The model abstains. It leans to: ${said}.` : `Answer: ${said}.`;
}

function headline(prediction) {
  if (prediction.incidence) {
    const [name, share] = Object.entries(prediction.event_free).at(-1);
    return [percent(share), `free of any event after ${years(parseInt(name, 10))}`];
  }
  if (prediction.probabilities) return [prediction.class, `probability ${percent(prediction.probabilities[prediction.class])}`];
  if (prediction.survival) return [`${prediction.risk_group} risk`, "third of the training patients' risk"];
  if (prediction.labels) {
    const likely = Object.entries(prediction.labels).filter(([, chance]) => chance >= 0.5).map(([name]) => title(name));
    return [likely.length ? likely.join(", ") : "none of the labels", "more likely than not"];
  }
  return [`${short(prediction.value, 3)} ${prediction.unit ?? ""}`.trim(), ""];
}

function verdict(prediction, reliability) {
  const [words, beside] = headline(prediction);
  const head = element("p", { class: "verdict" }, words, beside ? element("small", {}, beside) : null);
  return [head, ...numbers(prediction, reliability?.region), certainty(reliability)];
}

function numbers(prediction, region) {
  if (prediction.probabilities) return [chances("Class", prediction.probabilities)];
  if (prediction.labels) return [chances("Label", prediction.labels, region?.labels)];
  if (prediction.survival) return survival(prediction);
  if (prediction.incidence) return [incidence(prediction)];
  if (region && region.low !== null) {
    return [element("figure", {}, interval(prediction.value, region.low, region.high, prediction.unit ?? ""))];
  }
  return [];
}

function chances(what, shares, sets) {
  const rows = Object.entries(shares).map(([name, share]) => [
    what === "Label" ? title(name) : name, bar(share), percent(share), ...(sets ? [sets[name].join(" or ") || "neither"] : [])]);
  return table([what, "", "Probability", ...(sets ? ["Set"] : [])], rows, `Probability by ${what.toLowerCase()}`);
}

function survival(prediction) {
  const points = Object.entries(prediction.survival).map(([name, share]) => ({ days: parseInt(name, 10), share }));
  points.sort((one, other) => one.days - other.days);
  const drawn = element("figure", {}, survivalCurve(points),
    element("figcaption", {}, "The model gives the points; lines between them only lead the eye."));
  const rows = points.map(({ days, share }) => [years(days), percent(share)]);
  return [drawn, table(["After", "Without the event"], rows, "Predicted survival"), hazard(prediction)];
}

/** Competing risks: by horizon, which event has come first, or none. */
function incidence({ incidence: causes, event_free: free, risk_group: groups }) {
  const rows = Object.keys(free).map((name) => [
    years(parseInt(name, 10)), percent(free[name]), ...Object.values(causes).map((shares) => percent(shares[name]))]);
  const heads = Object.keys(causes).map((name) => `${title(name)} (${groups[name]} risk)`);
  return table(["After", "No event", ...heads], rows, "Which event came first, share of such patients");
}

function hazard(prediction) {
  const [name, value] = Object.entries(prediction).find(([, one]) => typeof one === "number") ?? [];
  return name ? element("p", { class: "hint" }, `${title(name)}: ${short(value)}. The higher, the sooner the event.`) : null;
}

/** The conformal set or interval in a sentence. */
function certainty(reliability) {
  if (!reliability) return element("p", { class: "hint" }, "How sure: this model was not fitted to say it.");
  const { region, coverage } = reliability;
  if (!region) return element("p", { class: "hint" }, "How sure: an answer of this kind carries no interval.");
  const chance = `In ${percent(coverage)} of patients the truth is within`;
  if (region.classes) {
    const names = region.classes.join(" or ") || "no class: none is likely enough";
    return element("p", { class: "certainty" }, `${chance}: `, element("strong", {}, names), ".");
  }
  if (region.labels) return element("p", { class: "certainty" }, `${chance} the set, label by label.`);
  if (region.low === null) return element("p", { class: "certainty" }, "No interval: too few patients with these inputs.");
  return element("p", { class: "certainty" }, `${chance}: ${short(region.low, 3)} to ${short(region.high, 3)}.`);
}

function abstention(reliability) {
  return element("div", { class: "banner" }, element("strong", {}, "The model abstains."), " Do not rely on what it leans to:",
    element("ul", {}, ...reliability.reasons.map((reason) => element("li", {}, reason))));
}

function restsOn(response) {
  const scores = response.reliability?.out_of_distribution ?? {};
  const known = response.reliability !== null;
  const used = response.modalities_used.map((name) => {
    const { examined, of, what } = response.examined[name];
    const score = scores[name];
    const unlike = score === undefined || score === null ? ["", "–"] : [meter(score), short(score)];
    return [title(name), `${examined} of ${of} ${what}`, ...(known ? unlike : [])];
  });
  const ignored = response.modalities_ignored.map((name) => [title(name), "ignored: this task looks at none of it", ...(known ? ["", "–"] : [])]);
  const drawn = table(["Input", "Looked at", ...(known ? ["", "Unlike training"] : [])], [...used, ...ignored], "Inputs, used and ignored");
  if (!known) return drawn;
  return element("div", {}, drawn, element("p", { class: "hint" }, "Unlike training: above 1, the line, an input is unlike those that the model learnt from; a dash where it cannot be told."));
}

function warnings(response) {
  if (!response.warnings.length) return [];
  return [element("h3", {}, "Warnings"), element("ul", { class: "warnings" }, ...response.warnings.map((line) => element("li", {}, line)))];
}

function provenance(response) {
  const facts = [
    ["Model", `${response.model}, version ${response.version}`], ["Task", response.task], ["Code", response.release],
    ["Model digest", response.digests.model], ["Contract digest", response.digests.contract], ["Request", response.request_id]];
  return element("details", {}, element("summary", {}, "Who answered"),
    element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
}

/** A table whose first cell heads its row; drawings and numbers share a column's head where that is empty. */
export function table(head, rows, caption) {
  const heads = head.filter((name) => name !== "").map((name) => {
    const wide = head[head.indexOf(name) - 1] === "" ? 2 : undefined;
    return element("th", { scope: "col", colspan: wide }, name);
  });
  const body = rows.map(([first, ...cells]) => element("tr", {}, element("th", { scope: "row" }, first),
    ...cells.map((cell) => element("td", {}, cell))));
  return element("div", { class: "scroll" }, element("table", {}, element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...body)));
}
