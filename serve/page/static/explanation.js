// What an answer goes by, for people: inputs by what each adds, and squares drawn on the images.

import { element, short, svg, title } from "./dom.js";
import { change } from "./drawing.js";
import { pictureOf } from "./files.js";
import { table } from "./answer.js";

const SHOWN = 8; // parts of an input, those of the largest change

/** An explanation as elements, with the request that it is about. */
export function explanationOf(explanation, request) {
  const { explained, value, modalities, parts, images } = explanation;
  const lead = `${title(explained)} is ${short(value)}. Each bar says how much of it goes away without that part: to the right the part raises it, to the left it lowers it.`;
  return [
    element("h3", {}, "What it goes by"),
    element("p", { class: "hint" }, lead),
    ...(modalities.length ? [changes("Input", modalities, modalities.length, request)] : []),
    ...Object.entries(parts).flatMap(([name, list]) => part(name, list, explanation, request)),
    ...(images.length ? [pictures(images, request)] : []),
    element("p", { class: "hint" }, `By ${explanation.method}. It tells what this model does, not what causes disease.`),
  ];
}

function part(name, list, { faithfulness, not_looked_at: left }, request) {
  if (!list.length) return [];
  const told = faithfulness[name];
  const words = [
    list.length > SHOWN ? `The ${SHOWN} largest of ${list.length}.` : "",
    left[name] ? `${left[name]} more were not taken away.` : "",
    told ? `Mean fall when parts are taken away, the largest first: ${signed(told.ordered)}; at random: ${signed(told.random)}.` : "",
  ];
  return [changes(`${title(name)}, part by part`, list, SHOWN, request), element("p", { class: "hint" }, words.filter(Boolean).join(" "))];
}

function changes(caption, list, most, request) {
  const largest = Math.max(...list.map((one) => Math.abs(one.change)), 1e-9);
  const sorted = [...list].sort((one, other) => Math.abs(other.change) - Math.abs(one.change)).slice(0, most);
  return table(["Part", "", "Change"], sorted.map((one) => [nameOf(one.field, request), change(one.change, largest), signed(one.change)]), caption);
}

/** A field in the words of people: the sentence itself, the gene, or which image. */
function nameOf(field, request) {
  const [, name, rest] = field.match(/^([^.[]+)(.*)$/);
  const range = rest.match(/^\[(\d+):(\d+)\]$/);
  if (range) return `“${[...request[name]].slice(Number(range[1]), Number(range[2])).join("")}”`;
  const index = rest.match(/^\[(\d+)\]$/);
  if (index) return `No. ${Number(index[1]) + 1}`;
  return rest ? rest.slice(1).split(".").map((word, place) => (place ? word : title(word))).join(": ") : title(name);
}

function pictures(images, request) {
  const largest = Math.max(...images.flatMap(({ changes: rows }) => rows.flat().map(Math.abs)), 1e-9);
  const drawn = images.map((image) => picture(image, largest, request)).filter(Boolean);
  return element("div", {}, element("h3", {}, "Where in the images"),
    element("p", { class: "hint" }, "Red squares raise the number, blue ones lower it; the stronger, the more."),
    element("div", { class: "pictures" }, ...drawn));
}

function picture({ field, changes: rows }, largest, request) {
  const [, name, index] = field.match(/^(.+)\[(\d+)\]$/);
  const address = pictureOf(request[name][Number(index)]);
  if (!address) return null;
  const side = 100 / rows.length;
  const label = `${title(name)}, no. ${Number(index) + 1}`;
  const squares = rows.flatMap((row, y) => row.map((value, x) => svg("rect", {
    class: value < 0 ? "no" : "for", x: x * side, y: y * side, width: side, height: side,
    "fill-opacity": (0.75 * Math.abs(value)) / largest })));
  return element("figure", {},
    svg("svg", { viewBox: "0 0 100 100", role: "img", "aria-label": `${label}: ${words(rows)}` },
      svg("image", { href: address, width: 100, height: 100, preserveAspectRatio: "none" }), ...squares),
    element("figcaption", {}, label), details(rows, label));
}

/** The text alternative: where the squares of the largest changes are. */
function words(rows) {
  const all = rows.flatMap((row, y) => row.map((value, x) => ({ value, x, y })));
  all.sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
  return all.slice(0, 3).map(({ value, x, y }) => `${signed(value)} at row ${y + 1}, column ${x + 1}`).join("; ");
}

function details(rows, label) {
  const head = ["Row", ...rows[0].map((_, x) => String(x + 1))];
  return element("details", {}, element("summary", {}, "Numbers"),
    table(head, rows.map((row, y) => [String(y + 1), ...row.map(signed)]), label));
}

function signed(value) {
  return (value > 0 ? "+" : value < 0 ? "−" : "") + short(Math.abs(value), 1);
}
