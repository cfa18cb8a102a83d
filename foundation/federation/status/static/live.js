"use strict";
// Follows a run: asks for its state every two seconds, and says when it cannot.

const EVERY = 2000; // milliseconds
const token = new URLSearchParams(location.search).get("token") || "";
const at = (id) => document.getElementById(id);
let phase = "";

function seconds(count) {
  if (count < 90) return `${Math.round(count)} s`;
  if (count < 5400) return `${Math.round(count / 60)} min`;
  return `${(count / 3600).toFixed(1)} h`;
}

function cell(text, kind) {
  const one = document.createElement("td");
  one.textContent = text;
  if (kind) one.className = kind;
  return one;
}

function row(site) {
  const line = document.createElement("tr");
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = site.name;
  line.append(name, cell(site.node || "not asked"), cell(site.doing), cell(site.answered, "number"));
  line.append(cell(site.last_error || "none", site.last_error ? "error" : ""));
  return line;
}

function show(state) {
  if (state.phase !== phase) { // a screen reader says it once
    phase = state.phase;
    at("phase").textContent = phase;
    at("phase").className = phase;
    document.title = `${phase}: federated run`;
  }
  at("folder").textContent = state.folder;
  at("progress").max = Math.max(state.rounds, 1);
  at("progress").value = state.round;
  let rounds = `${state.round} of ${state.rounds} finished`;
  if (state.seconds !== null) {
    rounds += `, ${seconds(state.seconds)} a round`;
    if (phase === "running") rounds += `, about ${seconds((state.rounds - state.round) * state.seconds)} to go`;
  }
  at("rounds").textContent = rounds;
  const left = state.deadline === null ? null : (new Date(state.deadline) - Date.now()) / 1000;
  const over = left < 0 ? `over by ${seconds(-left)}` : `in ${seconds(left)}`;
  at("deadline").textContent = left === null ? "" : `Next deadline ${over} (${new Date(state.deadline).toLocaleString()})`;
  at("sites").replaceChildren(...state.sites.map(row));
  at("cause").textContent = state.cause ? `Cause: ${state.cause}` : "";
  at("advice").textContent = state.advice;
  at("seen").textContent = `As of ${new Date().toLocaleTimeString()}`;
}

async function follow() {
  const lost = at("lost");
  try {
    const reply = await fetch("state.json", { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
    if (!reply.ok) throw new Error((await reply.text()).trim());
    show(await reply.json());
    lost.hidden = true;
  } catch (error) {
    const text = `Not up to date: ${error.message}. The status command may have ended; the run goes on without it.`;
    if (lost.hidden || lost.textContent !== text) lost.textContent = text;
    lost.hidden = false;
  }
  setTimeout(follow, EVERY);
}

follow();
