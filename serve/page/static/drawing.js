// Small drawings. Each stands beside the numbers it is made of, or has them as its text alternative.

import { percent, short, svg } from "./dom.js";

/** A share from 0 to 1 as a bar, of a table's cell that has the number beside it. */
export function bar(share, kind = "") {
  return svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", x: 0, y: 1, width: 100, height: 10, rx: 2 }),
    svg("rect", { class: `fill ${kind}`, x: 0, y: 1, width: 100 * Math.min(1, Math.max(0, share)), height: 10, rx: 2 }));
}

/** A score against its limit 1, which lies in the middle; likewise for a cell. */
export function meter(score) {
  const drawn = bar(score / 2, score > 1 ? "beyond" : "");
  drawn.append(svg("line", { class: "limit", x1: 50, x2: 50, y1: 0, y2: 12, "vector-effect": "non-scaling-stroke" }));
  return drawn;
}

/** What takes part with its size, raising to the right and lowering to the left; likewise for a cell. */
export function change(value, largest) {
  const width = 50 * Math.min(1, Math.abs(value) / largest);
  return svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", x: 0, y: 1, width: 100, height: 10 }),
    svg("rect", { class: value < 0 ? "fill against" : "fill", x: value < 0 ? 50 - width : 50, y: 1, width, height: 10 }),
    svg("line", { class: "axis", x1: 50, x2: 50, y1: 0, y2: 12, "vector-effect": "non-scaling-stroke" }));
}

/** Survival by days: the probabilities that the model gives, joined by straight lines. */
export function survivalCurve(points) {
  const last = points.at(-1).days;
  const x = (days) => 46 + (400 * days) / last;
  const y = (share) => 14 + 180 * (1 - share);
  const all = [{ days: 0, share: 1 }, ...points];
  const words = points.map(({ days, share }) => `${percent(share)} without the event after ${years(days)}`).join(", ");
  return svg("svg", { viewBox: "0 0 470 236", role: "img", "aria-label": `Predicted survival: ${words}.` },
    ...[0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
      svg("line", { class: "grid-line", x1: 46, x2: 446, y1: y(share), y2: y(share) }),
      svg("text", { x: 40, y: y(share) + 4, "text-anchor": "end" }, String(Math.round(100 * share)))]),
    svg("text", { x: 46, y: 232 }, "per cent without the event, by years"),
    svg("path", { class: "curve", d: `M${all.map(({ days, share }) => `${x(days)} ${y(share)}`).join("L")}` }),
    ...all.flatMap(({ days, share }) => [
      svg("circle", { class: "dot", cx: x(days), cy: y(share), r: 4 }),
      svg("text", { x: x(days), y: 212, "text-anchor": "middle" }, short(days / 365, 1))]));
}

/** A value on the line of its interval. */
export function interval(value, low, high, unit) {
  const reach = (high - low) || 1;
  const x = (number) => 40 + (390 * (number - low + 0.1 * reach)) / (1.2 * reach);
  const words = `${short(value)} ${unit}, interval ${short(low)} to ${short(high)}.`;
  return svg("svg", { viewBox: "0 0 470 60", role: "img", "aria-label": words },
    svg("line", { class: "axis", x1: 40, x2: 430, y1: 24, y2: 24 }),
    svg("line", { class: "curve", x1: x(low), x2: x(high), y1: 24, y2: 24 }),
    ...[low, high].map((end) => svg("line", { class: "curve", x1: x(end), x2: x(end), y1: 17, y2: 31 })),
    svg("circle", { class: "dot", cx: x(value), cy: 24, r: 6 }),
    ...[low, high].map((end) => svg("text", { x: x(end), y: 52, "text-anchor": "middle" }, short(end))));
}

/** Days in the words of years. */
export function years(days) {
  const number = days / 365;
  return Number.isInteger(number) ? `${number} year${number === 1 ? "" : "s"}` : `${days} days`;
}
