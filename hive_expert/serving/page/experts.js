// The experts of this server: where they are, who published them, how good they were measured.

import { $, button, element } from "./dom.js";
import { change, get, mayChange, noteAllowed } from "./server.js";

const NEAR = ["slot", "cpu"];

export function startExperts() {
  $("rescan").addEventListener("click", () => act("/v1/experts/rescan", "looked again"));
}

export async function showExperts() {
  const response = await get("/v1/experts");
  noteAllowed(response);
  const { data } = await response.json();
  const focused = document.activeElement?.getAttribute("aria-label");
  const open = $("expert-list").querySelector("details")?.open ?? false;
  const served = data.filter((expert) => expert.state !== "unavailable");
  const others = data.filter((expert) => expert.state === "unavailable");
  $("expert-list").replaceChildren(...served.map(entry));
  if (others.length) $("expert-list").append(notServed(others, open));
  if (focused) {
    [...$("expert-list").querySelectorAll("button")]
      .find((node) => node.getAttribute("aria-label") === focused)
      ?.focus();
  }
  if (!data.length) $("expert-list").append(element("li", "empty", "No experts: the base model answers."));
  $("rescan").hidden = !mayChange();
  offer(served.map((expert) => expert.id));
}

/** The names that the chat may be told to ask. */
function offer(names) {
  const select = $("model");
  const wanted = ["auto", "", ...new Set(names)];
  if (wanted.join() === [...select.options].map((option) => option.value).join()) return;
  const chosen = select.value;
  select.replaceChildren(
    ...wanted.map((name) => {
      const option = element("option", "", { auto: "router (auto)", "": "base model" }[name] ?? name);
      option.value = name;
      return option;
    }),
  );
  select.value = wanted.includes(chosen) ? chosen : "auto";
}

function entry(expert) {
  const where = expert.residency ?? expert.state;
  const pinned = expert.pinned ? ", pinned" : "";
  return element(
    "li",
    "",
    element(
      "div",
      "name",
      element("h3", "", expert.id),
      element("span", "state", expert.version),
      element("span", NEAR.includes(where) ? "state near" : "state", `${where}${pinned}`),
    ),
    expert.description ? element("p", "description", expert.description) : null,
    element("p", "facts", `${publisher(expert)} · ${quality(expert.quality)}`),
    ...(expert.check ? checked(expert.check) : []),
    ...(expert.warnings ?? []).map((warning) => element("p", "facts", warning)),
    mayChange() ? actions(expert) : null,
  );
}

function notServed(experts, open) {
  const list = element("ul", "", ...experts.map(unavailable));
  const details = element("details", "", element("summary", "", `${experts.length} not served`), list);
  details.open = open;
  return element("li", "", details);
}

function unavailable(expert) {
  return element(
    "li",
    "",
    element(
      "div",
      "name",
      element("h3", "", expert.id ?? expert.source),
      element("span", "state off", "not served"),
    ),
    ...(expert.problems ?? []).map((problem) =>
      element("p", "facts", [problem.where, problem.what].filter(Boolean).join(": ")),
    ),
  );
}

/** Before its weights are read, an expert is only what its signature says. */
function publisher(expert) {
  if (expert.state !== "announced") return expert.publisher ?? "unsigned";
  return expert.publisher ? `${expert.publisher} (not verified yet)` : "not verified yet";
}

/** What the publisher says of it; whether that holds here is said by the check. */
function quality(claimed) {
  if (claimed?.benchmark_score === undefined) return "no quality claimed";
  const base = claimed.base_model_score;
  const told = `claims ${percent(claimed.benchmark_score)}`;
  return base === undefined ? told : `${told}, base ${percent(base)}`;
}

/** What `hive check` found on this machine. */
function checked(check) {
  const sample = check.total && check.cases < check.total ? ` of ${check.total}` : "";
  const found =
    `: ${percent(check.score)} here (${percent(check.low)} to ${percent(check.high)}; ` +
    `${check.cases}${sample} cases, ${check.date})`;
  const unjudged = check.unjudged?.length ? `; not looked at: ${check.unjudged.join(", ")}` : "";
  const held = check.reproduced
    ? element("strong", "held", "reproduced")
    : element("strong", "broken", "claim not reproduced");
  return [
    element("p", "facts", held, found, unjudged),
    ...(check.broken ?? []).map((claim) => element("p", "facts", claim)),
  ];
}

const percent = (score) => (score <= 1 ? `${Math.round(score * 100)} %` : String(score));

function actions(expert) {
  const path = `/v1/experts/${encodeURIComponent(`${expert.id}@${expert.version}`)}`;
  const choices = NEAR.includes(expert.residency) ? ["unload"] : ["load"];
  choices.push(expert.pinned ? "unpin" : "pin");
  return element(
    "div",
    "actions",
    ...choices.map((verb) =>
      button(verb, `${verb} ${expert.id} ${expert.version}`, () =>
        act(`${path}/${verb}`, `${expert.id}: ${verb} done`),
      ),
    ),
  );
}

async function act(path, done) {
  const message = $("experts-message");
  message.classList.remove("bad");
  message.textContent = "…";
  try {
    await change(path);
    await showExperts();
    message.textContent = done;
  } catch (error) {
    message.textContent = error.message;
    message.classList.add("bad");
  }
}
