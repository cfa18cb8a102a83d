// The page: a token, a form of the endpoint's own contract, and its answer. Nothing of a patient leaves but the request.

import { answerOf, summaryOf } from "./answer.js";
import { element, title } from "./dom.js";
import { explanationOf } from "./explanation.js";
import { formOf } from "./form.js";
import { clear, show } from "./problems.js";

const TOKEN = "consilium-token"; // in this tab's storage, which ends with it
const byId = (id) => document.getElementById(id);
const say = (text, shown = true) => {
  byId("status").textContent = text;
  byId("status").classList.toggle("heard", !shown); // an answer is read aloud in a sentence, and stands below in full
};
let turn = 0; // of asking and clearing: what comes back in a later one is of a patient who is no longer there
let endpoint = null; // {paths, parts}: where it is asked, by operation, and the form's parts by modality

byId("connect").addEventListener("submit", async (event) => {
  event.preventDefault();
  await connect(byId("token").value.trim());
});
byId("patient").addEventListener("submit", async (event) => {
  event.preventDefault();
  await ask();
});
byId("patient").addEventListener("reset", () => {
  forget();
  Object.values(endpoint.parts).forEach((part) => part.write(undefined));
  say("Nothing asked yet.");
});
byId("patient").addEventListener("input", () => {
  if (!main().disabled && !byId("result").hasChildNodes()) return;
  forget(); // an answer beside another form would be taken for its own
  say("The form has changed since; ask again.");
});
const kept = sessionStorage.getItem(TOKEN);
if (kept) connect(kept);

async function connect(token) {
  clear();
  if (!/^[\x21-\x7e]+$/.test(token)) {
    show({ field: "token", reason: "no token", remedy: "paste the key of the server's key file" }, byId("connect"));
    return;
  }
  const reply = await call("openapi.json", undefined, token);
  if (!reply.ok) {
    show({ ...reply.problem, field: "token" }, byId("connect"));
    sessionStorage.removeItem(TOKEN);
    return;
  }
  sessionStorage.setItem(TOKEN, token);
  const { info, paths, components } = reply.content;
  const named = Object.entries(paths).map(([path, { post }]) => [post.operationId, path.slice(1)]);
  endpoint = { paths: Object.fromEntries(named), parts: formOf(components.schemas.Request) };
  byId("model").textContent = info.title;
  byId("about").textContent = `${info.summary}. Version ${info.version}.`;
  document.title = `Ask ${info.title}`;
  byId("fields").replaceChildren(...Object.values(endpoint.parts).map((part) => part.node));
  byId("connect").hidden = true;
  byId("work").hidden = false;
  await offerExamples();
}

/** A button for each example that the bundle carries. */
async function offerExamples() {
  const reply = await call("examples");
  const examples = reply.ok ? Object.entries(reply.content) : [];
  const fill = (request) => () => {
    forget();
    Object.entries(endpoint.parts).forEach(([name, part]) => part.write(request[name]));
    say("Example filled in; ask when ready.");
  };
  byId("examples").hidden = examples.length === 0;
  byId("examples").replaceChildren(element("span", { class: "hint" }, "Try an example:"),
    ...examples.map(([name, request]) => element("button", { type: "button", onclick: fill(request) }, title(name))));
}

async function ask() {
  forget();
  const asked = turn;
  say("Asking …");
  byId("answer").setAttribute("aria-busy", "true");
  main().disabled = true;
  let request;
  try {
    request = await requestOf(endpoint.parts);
  } catch (error) {
    if (asked !== turn) return;
    idle();
    if (!error.field) throw error;
    clear(); // a file that could not be read stands there already
    refuse({ field: error.field, reason: error.message, remedy: error.remedy });
    return;
  }
  if (asked !== turn) return;
  const reply = await call(endpoint.paths.predict, request);
  if (asked !== turn) return;
  idle();
  if (!reply.ok) {
    refuse(reply.problem);
    return;
  }
  byId("result").replaceChildren(...answerOf(reply.content), ...explainer(request));
  say(summaryOf(reply.content), false);
  if (byId("answer").getBoundingClientRect().top > innerHeight / 2) byId("answer").scrollIntoView();
}

/** Another patient comes into the form: nothing of the one before stays, or comes later. */
function forget() {
  turn += 1;
  idle();
  clear();
  byId("result").replaceChildren();
}

/** Whatever was asked is answered, or no longer wanted. */
function idle() {
  main().disabled = false;
  byId("answer").removeAttribute("aria-busy");
}

function main() {
  return byId("patient").querySelector(".main");
}

/** A button that asks what the answer goes by: the model is asked again without each part, which takes a while. */
function explainer(request) {
  if (!endpoint.paths.explain) return [];
  const place = element("div", { id: "explanation" });
  const button = element("button", { type: "button", id: "explain" }, "What does it go by?");
  button.addEventListener("click", async () => {
    const asked = turn;
    button.disabled = true;
    say("Asking again without each part …", false);
    const reply = await call(endpoint.paths.explain, request);
    if (asked !== turn) return;
    button.disabled = false;
    button.hidden = reply.ok;
    const { reason, remedy } = reply.problem ?? {};
    say(reply.ok ? `What it goes by: ${reply.content.explained}.` : `Not explained. ${reason}; ${remedy}.`, !reply.ok);
    if (!reply.ok) return;
    place.replaceChildren(...explanationOf(reply.content, request));
    place.scrollIntoView();
  });
  return [button, place];
}

/** What the form says, once all files of it are read. */
async function requestOf(parts) {
  await Promise.all(Object.values(parts).map((part) => part.ready()));
  const read = Object.entries(parts).map(([name, part]) => [name, part.read()]);
  return Object.fromEntries(read.filter(([, value]) => value !== undefined));
}

function refuse(problem) {
  byId("result").replaceChildren();
  say(`Not answered. ${show(problem, byId("patient"))}`);
}

/**
 * Asks the endpoint.
 * @param request to send as JSON; a GET without.
 * @returns `{ok, content}` or `{ok, problem}`.
 */
async function call(path, request, token = sessionStorage.getItem(TOKEN)) {
  const headers = { Authorization: `Bearer ${token}`, Accept: "application/json" };
  const post = { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(request) };
  try {
    const reply = await fetch(path, { ...(request ? post : { headers }), redirect: "error", cache: "no-store", credentials: "omit" });
    const content = await reply.json();
    return reply.ok ? { ok: true, content } : { ok: false, problem: content };
  } catch {
    return { ok: false, problem: { field: "request", reason: "the endpoint did not answer", remedy: "is it running? ask again" } };
  }
}
