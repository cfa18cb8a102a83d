// The form of a patient, made of the JSON Schema by which the endpoint reads requests.

import { element, title } from "./dom.js";
import { accepted, base64, pictureOf, readTable, readVectors, writeTable } from "./files.js";
import { clear, show as showProblem } from "./problems.js";

/**
 * Parts of a request by modality: each `{node, ready(), read(), write(value)}`.
 * `ready` waits for files that are being read, and fails where one cannot be; `read` gives undefined where nothing is.
 */
export function formOf(request) {
  return Object.fromEntries(
    Object.entries(request.properties).map(([name, schema]) => {
      const part = partOf(name, schema.anyOf.find((one) => one.type !== "null"));
      const legend = element("legend", {}, title(name), part.hint ? element("span", { class: "hint" }, part.hint) : null);
      const node = element("fieldset", { id: name, "data-field": name }, legend, ...part.nodes);
      return [name, { ...part, node }];
    }),
  );
}

function partOf(name, schema) {
  const images = [schema, ...(schema.oneOf ?? [])].find((one) => one.items?.contentEncoding === "base64");
  if (images) return filesPart(name, images);
  if (schema.type === "string") return textPart(name);
  if (schema.type === "object") return objectPart(name, schema);
  return vectorsPart(name, schema);
}

function textPart(name) {
  const area = element("textarea", { id: `${name}-text`, "data-field": name, rows: 5, "aria-label": title(name) });
  return {
    nodes: [field(area)],
    ready,
    read: () => (area.value === "" ? undefined : area.value),
    write: (value) => { area.value = value ?? ""; },
  };
}

function vectorsPart(name, schema) {
  const size = (schema.oneOf?.[0] ?? schema).items.minItems;
  const area = element("textarea", { id: `${name}-table`, "data-field": name, class: "table", "aria-label": title(name) });
  return {
    nodes: [field(area)],
    hint: `${size} numbers a line, a line a tile`,
    ready,
    read: () => (area.value.trim() === "" ? undefined : readVectors(area.value)),
    write: (value) => { area.value = (value ?? []).map((row) => row.join(",")).join("\n"); },
  };
}

function filesPart(name, schema) {
  let kept = [];
  const list = element("ul", { class: "files", "aria-label": `${title(name)}: files` });
  const input = element("input", {
    type: "file", id: `${name}-files`, "data-field": name, multiple: true, accept: accepted(schema.items),
    "aria-label": `${title(name)}: choose or drop files`, onchange: () => { reading.take(input.files); input.value = ""; },
  });
  const show = () => {
    list.replaceChildren(...kept.map((file, place) => {
      const again = () => { kept.splice(place, 1); show(); input.focus(); changed(input); };
      const address = pictureOf(file.data);
      const what = address ? element("img", { src: address, alt: file.name }) : element("span", { class: "file" }, file.name);
      return element("li", { "data-field": `${name}[${place}]` }, what,
        element("button", { type: "button", "aria-label": `Remove ${file.name}`, onclick: again }, "Remove"));
    }));
  };
  const reading = intake(name, base64, (files) => { kept.push(...files); show(); });
  const drop = dropping(field(input), input, reading.take);
  return {
    nodes: [drop, list],
    hint: schema.items.description,
    ready: reading.ready,
    read: () => (kept.length ? kept.map((file) => file.data) : undefined),
    write: (value) => {
      reading.forget();
      kept = (value ?? []).map((data, place) => ({ name: `${name} ${place + 1}`, data }));
      show();
    },
  };
}

function objectPart(name, schema) {
  const cells = Object.entries(schema.properties).map(([key, one]) => [key, cellOf(`${name}.${key}`, title(key), one)]);
  const tables = Object.values(schema.properties).some((one) => one.additionalProperties);
  return {
    ready: () => Promise.all(cells.map(([, cell]) => cell.ready())),
    nodes: [element("div", { class: tables ? "tables" : "grid" }, ...cells.map(([, cell]) => cell.node))],
    read: () => {
      const there = cells.map(([key, cell]) => [key, cell.read()]).filter(([, value]) => value !== undefined);
      return there.some(([key]) => !tables || schema.properties[key].additionalProperties)
        ? Object.fromEntries(there) : undefined;
    },
    write: (value) => cells.forEach(([key, cell]) => cell.write(value?.[key])),
  };
}

function cellOf(path, label, schema) {
  if (schema.additionalProperties) return tableCell(path, label);
  return schema.enum ? choiceCell(path, label, schema) : numberCell(path, label, schema);
}

function tableCell(path, label) {
  const area = element("textarea", {
    id: path, "data-field": path, class: "table", rows: 4, spellcheck: "false", placeholder: "symbol,value",
  });
  const reading = intake(path, (file) => file.text(), ([file]) => { area.value = file.data; });
  const input = element("input", {
    type: "file", accept: ".csv,.tsv,.txt", "aria-label": `${label}: table, CSV or TSV`,
    onchange: () => { reading.take(input.files); input.value = ""; },
  });
  return {
    node: dropping(field(area, label, "a line a gene: symbol,value", input), area, ([file]) => reading.take(file ? [file] : [])),
    ready: reading.ready,
    read: () => {
      if (area.value.trim() === "") return undefined;
      try {
        return readTable(area.value);
      } catch (error) {
        throw Object.assign(error, { field: path, remedy: "mend the table" });
      }
    },
    write: (value) => { reading.forget(); area.value = writeTable(value); },
  };
}

function choiceCell(path, label, schema) {
  const values = schema.enum.filter((value) => value !== null);
  const options = [element("option", { value: "" }, "not known"), ...values.map((value, place) => element("option", { value: place }, String(value)))];
  const select = element("select", { id: path, "data-field": path }, ...options);
  return {
    node: field(select, label, schema.description),
    ready,
    read: () => (select.value === "" ? undefined : values[Number(select.value)]),
    write: (value) => { select.value = values.includes(value) ? String(values.indexOf(value)) : ""; },
  };
}

function numberCell(path, label, schema) {
  const input = element("input", { id: path, "data-field": path, inputmode: "decimal", autocomplete: "off" });
  return {
    node: field(input, label, schema.description),
    ready,
    read: () => {
      const text = input.value.trim();
      if (text === "") return undefined;
      return Number.isFinite(Number(text)) ? Number(text) : text;
    },
    write: (value) => { input.value = value ?? ""; },
  };
}

/** A control with its label and hint. */
function field(control, label, hint, ...more) {
  const id = `${control.id}-hint`;
  if (hint) control.setAttribute("aria-describedby", id);
  return element("div", { class: "field" }, label ? element("label", { for: control.id }, label) : null, control,
    hint ? element("p", { class: "hint", id }, hint) : null, ...more);
}

/** Of what reads no files. */
async function ready() {}

/**
 * Files on their way into a place of the form, one lot after another.
 * @param load gives the content of a file.
 * @param put takes a lot, `{name, data}` each, unless another patient came into the form meanwhile.
 */
function intake(path, load, put) {
  let patient = 0;
  let last = Promise.resolve();
  const lot = async (files, before, asked) => {
    await before.catch(() => {}); // an earlier lot's failure is its own
    const loaded = [];
    for (const file of files) {
      try {
        loaded.push({ name: file.name, data: await load(file) });
      } catch {
        if (asked !== patient) return;
        const reason = `${file.name} cannot be read, and nothing chosen with it was taken`;
        const problem = { field: path, remedy: "choose files anew, or ask without" };
        clear();
        showProblem({ ...problem, reason });
        throw Object.assign(new Error(reason), problem);
      }
    }
    if (asked === patient && loaded.length) put(loaded);
  };
  return {
    take: (files) => {
      last = lot([...files], last, patient);
      last.catch(() => {}); // it is shown; who asks meanwhile hears it by `ready`
    },
    ready: async () => {
      try {
        for (let awaited; awaited !== last;) await (awaited = last); // more may be chosen meanwhile
      } catch (error) {
        last = Promise.resolve(); // asked once more, it is without them
        throw error;
      }
    },
    forget: () => { patient += 1; last = Promise.resolve(); },
  };
}

/** Tells the form of a change that no browser tells it of. */
function changed(node) {
  node.dispatchEvent(new Event("input", { bubbles: true }));
}

/** A place that takes dropped files, too, as its control does. */
function dropping(node, control, take) {
  const over = (on) => (event) => { event.preventDefault(); node.classList.toggle("over", on); };
  node.addEventListener("dragover", over(true));
  node.addEventListener("dragleave", over(false));
  node.addEventListener("drop", (event) => { over(false)(event); changed(control); take(event.dataTransfer.files); });
  return node;
}
