// Elements of the page. Text enters it as text alone, never as markup: what a sender or a server wrote stays words.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (`on…` are listeners; false and undefined are left out) and children, texts or elements. */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** A name of the contract as people write it: `copy_number` is "Copy number". */
export function title(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A number in few digits; a dash where there is none. */
export function short(number, digits = 2) {
  if (number === null || number === undefined) return "–";
  return Math.abs(number) >= 1e5 ? number.toExponential(digits) : String(Number(number.toPrecision(digits + 1)));
}

/** A share as per cent, and never a certainty that rounding made. */
export function percent(share) {
  if (share > 0 && share < 0.01) return "< 1 %";
  if (share < 1 && share > 0.99) return "> 99 %";
  return `${Math.round(share * 100)} %`;
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
