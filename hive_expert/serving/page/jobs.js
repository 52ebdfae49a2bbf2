// Batches: how far they are, what they cost, and what can be done with them. They come as a stream.

import { $, button, element } from "./dom.js";
import { change, events, get, remove } from "./server.js";

const SHOWN = 20;
const AGAIN_MS = 5000;
const OVER = ["failed", "completed", "expired", "cancelled"];
const NEAR = ["validating", "in_progress", "finalizing", "completed"];

/** Batches by their id, the newest first. */
let batches = new Map();
let listening = null;

/** Follow the batches for as long as the page is open; begin anew when the keys have changed. */
export function startJobs() {
  follow();
}

export function newKeys() {
  listening?.abort();
}

async function follow() {
  for (;;) {
    listening = new AbortController();
    try {
      const stream = await get("/v1/jobs/events", listening.signal);
      await list();
      for await (const batch of events(stream)) update(batch);
    } catch (error) {
      if (error.name !== "AbortError") unavailable(error);
    }
    await new Promise((resolve) => setTimeout(resolve, listening.signal.aborted ? 0 : AGAIN_MS));
  }
}

async function list() {
  const { data } = await (await get(`/v1/batches?limit=${SHOWN}`)).json();
  batches = new Map(data.map((batch) => [batch.id, batch]));
  $("jobs").hidden = false;
  say(""); // of what failed before
  show();
}

function update(batch) {
  if (batches.has(batch.id)) batches.set(batch.id, batch);
  else batches = new Map([[batch.id, batch], ...batches].slice(0, SHOWN));
  show();
}

/** A server may have no batches at all, and then shows nothing of them. */
function unavailable(error) {
  $("jobs").hidden = batches.size === 0;
  say(error.message, true);
}

function show() {
  const focused = document.activeElement?.getAttribute("aria-label");
  $("job-list").replaceChildren(...[...batches.values()].map(entry));
  if (!batches.size) {
    $("job-list").append(element("li", "empty", "No batches. hive jobs submit makes one."));
  }
  if (focused) {
    [...$("job-list").querySelectorAll("button")]
      .find((node) => node.getAttribute("aria-label") === focused)
      ?.focus();
  }
}

function entry(batch) {
  const { total, completed, failed } = batch.request_counts;
  const near = NEAR.includes(batch.status) ? "state near" : "state off";
  return element(
    "li",
    "",
    element(
      "div",
      "name",
      element("h3", "", batch.metadata?.name ?? short(batch.id)),
      element("span", near, batch.status.replace("_", " ")),
      element("span", "state", since(batch.created_at)),
    ),
    OVER.includes(batch.status) ? null : progress(batch),
    element(
      "p",
      "facts",
      `${completed} answered, ${failed} failed, of ${total} · ` +
        `${batch.usage.total_tokens.toLocaleString()} tokens`,
    ),
    ...(batch.errors?.data ?? []).slice(0, 3).map(problem),
    actions(batch),
  );
}

function progress(batch) {
  const { total, completed, failed } = batch.request_counts;
  const meter = element("meter", "wide");
  meter.min = 0;
  meter.max = Math.max(1, total);
  meter.value = completed + failed;
  meter.setAttribute("aria-label", `how far ${short(batch.id)} is`);
  return meter;
}

function problem({ line, message }) {
  return element("p", "facts", line ? `line ${line}: ${message}` : message);
}

function actions(batch) {
  const path = `/v1/batches/${batch.id}`;
  const choices = [];
  if (!OVER.includes(batch.status)) choices.push(["cancel", () => change(`${path}/cancel`)]);
  else {
    for (const [kind, file] of Object.entries({ results: batch.output_file_id, errors: batch.error_file_id })) {
      if (file) choices.push([kind, () => save(file, `${batch.id}_${kind}.jsonl`)]);
    }
    if (batch.request_counts.failed && batch.status !== "failed") {
      choices.push(["retry", () => change(`${path}/retry`)]);
    }
    choices.push(["delete", () => forget(batch)]);
  }
  const buttons = choices.map(([verb, does]) =>
    button(verb, `${verb} of ${batch.id}`, () => act(verb, batch, does)),
  );
  return element("div", "actions", ...buttons);
}

async function act(verb, batch, does) {
  say("…");
  try {
    await does();
    say(`${short(batch.id)}: ${verb} done`);
  } catch (error) {
    say(error.message, true);
  }
}

async function forget(batch) {
  await remove(`/v1/batches/${batch.id}`);
  batches.delete(batch.id);
  show();
}

/** A file of the server's, as a download: its address alone would go without the key. */
async function save(file, name) {
  const content = await (await get(`/v1/files/${file}/content`)).blob();
  const link = element("a", "");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

function say(text, bad = false) {
  $("jobs-message").textContent = text;
  $("jobs-message").classList.toggle("bad", bad);
}

const short = (id) => id.slice(0, "batch_".length + 8);

function since(seconds) {
  return new Date(1000 * seconds).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
}
