// Refusals (RFC 9457) where they belong: at the field that they name.

import { element } from "./dom.js";

/** Takes away what earlier refusals left. */
export function clear(root = document) {
  root.querySelectorAll(".problem").forEach((node) => node.remove());
  root.querySelectorAll("[aria-invalid]").forEach((node) => {
    node.removeAttribute("aria-invalid");
    describe(node, (ids) => ids.filter((id) => id !== "problem"));
  });
}

/**
 * Shows a refusal at its field, and moves there.
 * @param problem `{field, reason, remedy}`.
 * @returns the refusal in one sentence.
 */
export function show(problem, root = document) {
  const sentence = `${problem.reason}; ${problem.remedy}`;
  const node = place(problem.field, root);
  if (node) {
    const control = node.matches("fieldset, li") ? node.querySelector("input, textarea, select, button") ?? node : node;
    const name = node.dataset.field === problem.field ? "" : `${problem.field}: `;
    const line = element("p", { class: "problem", id: "problem" }, name + sentence);
    (node.matches("fieldset, li") ? node : node.closest(".field") ?? node.parentElement).append(line);
    control.setAttribute("aria-invalid", "true");
    describe(control, (ids) => [...ids, "problem"]);
    control.focus();
  }
  return `${problem.field}: ${sentence}.`;
}

/** The most exact place of the form that a field's name begins with. */
function place(field, root) {
  const nodes = [...root.querySelectorAll("[data-field]")];
  const within = nodes.filter(({ dataset }) => field === dataset.field || [".", "["].some((mark) => field.startsWith(dataset.field + mark)));
  const longest = Math.max(0, ...within.map(({ dataset }) => dataset.field.length));
  const fits = within.filter(({ dataset }) => dataset.field.length === longest);
  return fits.find((node) => !node.matches("fieldset")) ?? fits[0];
}

function describe(node, change) {
  const ids = change((node.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean));
  if (ids.length) node.setAttribute("aria-describedby", ids.join(" "));
  else node.removeAttribute("aria-describedby");
}
