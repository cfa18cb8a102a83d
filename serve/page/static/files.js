// Files of the sender as a request holds them: base64 of their bytes, and tables as text.

const IMAGES = "image/png,image/jpeg";
const SCANS = ".nii,.nii.gz,application/gzip";
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const UNKNOWN = new Set(["", "na", "nan", "null", "-"]);

/** What a file input of these items takes: scans where they are gzipped, pictures otherwise. */
export function accepted(items) {
  return items.contentMediaType === "application/gzip" ? SCANS : IMAGES;
}

/** The base64 of a file; a bare .nii is zipped first, for the endpoint reads zipped ones. */
export async function base64(file) {
  const bare = file.name.toLowerCase().endsWith(".nii");
  const stream = bare ? file.stream().pipeThrough(new CompressionStream("gzip")) : file.stream();
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

/** The picture of a base64 file as an address, where browsers show its kind; null for others. */
export function pictureOf(data) {
  if (data.startsWith("iVBOR")) return `data:image/png;base64,${data}`;
  return data.startsWith("/9j/") ? `data:image/jpeg;base64,${data}` : null;
}

/**
 * A table of two columns, name and value, by comma, tab or semicolon; a first line without a number is its head.
 * A value that is no number stays a text, which the endpoint refuses by name.
 * @throws {Error} naming the line that has another shape or a name that was there before.
 */
export function readTable(text) {
  const values = {};
  text.split(/\r?\n/).forEach((line, index) => {
    if (line.trim() === "") return;
    const cells = line.split(/[,;\t]/).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));
    if (cells.length !== 2) throw new Error(`line ${index + 1} has ${cells.length} columns; give a name and a value`);
    const [name, cell] = cells;
    const value = UNKNOWN.has(cell.toLowerCase()) ? null : NUMBER.test(cell) ? Number(cell) : cell;
    if (index === 0 && typeof value === "string") return;
    if (Object.hasOwn(values, name)) throw new Error(`${name} stands twice, again in line ${index + 1}; keep one`);
    Object.defineProperty(values, name, { value, enumerable: true, configurable: true, writable: true });
  });
  return values;
}

/** The way back, a line a name. */
export function writeTable(values) {
  return Object.entries(values ?? {}).map(([name, value]) => `${name},${value ?? ""}`).join("\n");
}

/** Rows of numbers, a line a vector. */
export function readVectors(text) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  return lines.map((line) => line.split(/[,;\t ]+/).filter(Boolean).map((cell) => (NUMBER.test(cell) ? Number(cell) : cell)));
}
