// Who would answer, and why.

import { $, element } from "./dom.js";
import { post } from "./server.js";

export function startRoute() {
  $("route-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const result = $("route-result");
    try {
      const system = $("system").value.trim();
      const messages = [{ role: "user", content: $("route-text").value }];
      if (system) messages.unshift({ role: "system", content: system });
      const decision = await (await post("/v1/route", { messages })).json();
      result.replaceChildren(...explanation(decision));
    } catch (error) {
      result.replaceChildren(element("p", "bad", error.message));
    }
  });
}

function explanation(decision) {
  const parts = [
    element("p", "chosen", decision.model ?? "base model"),
    element("ul", "", ...decision.reasons.map((reason) => element("li", "", reason))),
  ];
  if (decision.candidates.length) parts.push(candidates(decision.candidates));
  return parts;
}

function candidates(found) {
  const table = element(
    "table",
    "",
    element("thead", "", element("tr", "", ...["Expert", "Probability", "Says"].map(heading))),
    element("tbody", "", ...found.map(row)),
  );
  return table;
}

function heading(text) {
  const node = element("th", "", text);
  node.scope = "col";
  return node;
}

function row(candidate) {
  const meter = element("meter", "");
  meter.min = 0;
  meter.max = 1;
  meter.value = candidate.probability;
  meter.setAttribute("aria-hidden", "true");
  const says = [...candidate.keywords];
  if (candidate.ruled_out) says.push(`ruled out: ${candidate.ruled_out}`);
  return element(
    "tr",
    "",
    element("td", "", candidate.name),
    element("td", "number", meter, candidate.probability.toFixed(2)),
    element("td", "", says.join(", ")),
  );
}
