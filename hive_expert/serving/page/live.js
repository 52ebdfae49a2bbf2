// Tokens per second and time to first token, from the server's own counters.

import { $ } from "./dom.js";
import { get } from "./server.js";

const KEPT = 60;
const SVG = "http://www.w3.org/2000/svg";
const speeds = [];
const waits = [];
let before = null;

/** Read the counters and draw what has changed since the last time. */
export async function showLive() {
  const text = await (await get("/metrics")).text();
  const now = {
    at: performance.now() / 1000,
    tokens: sum(text, "vllm:generation_tokens_total"),
    waited: sum(text, "vllm:time_to_first_token_seconds_sum"),
    answers: sum(text, "vllm:time_to_first_token_seconds_count"),
  };
  if (before) {
    const speed = Math.max(0, (now.tokens - before.tokens) / (now.at - before.at));
    const answers = now.answers - before.answers;
    const wait = answers > 0 ? ((now.waited - before.waited) / answers) * 1000 : null;
    keep(speeds, speed);
    keep(waits, wait);
    draw("speed-chart", speeds);
    draw("ttft-chart", waits);
    $("speed-value").textContent = speed.toFixed(0);
    const last = waits.findLast((value) => value !== null);
    $("ttft-value").textContent = last === undefined ? "–" : `${Math.round(last)} ms`;
  }
  before = now;
  const [running, waiting] = ["running", "waiting"].map((what) => sum(text, `hive_job_requests_${what}`));
  $("queue").textContent = running + waiting ? `${running} requests at work, ${waiting} waiting` : "";
}

/** A counter of Prometheus' text format, over all its labels. */
function sum(text, name) {
  let total = 0;
  for (const line of text.split("\n")) {
    if (line.startsWith(name) && "{ ".includes(line[name.length])) {
      total += Number(line.slice(line.lastIndexOf(" ") + 1)) || 0;
    }
  }
  return total;
}

function keep(values, value) {
  values.push(value);
  if (values.length > KEPT) values.shift();
}

/** A line over the kept values, the newest at the right; where nothing was measured, none. */
function draw(id, values) {
  const highest = Math.max(1, ...values.map((value) => value ?? 0));
  const points = values
    .map((value, place) => [240 - (values.length - 1 - place) * (240 / (KEPT - 1)), value])
    .filter(([, value]) => value !== null)
    .map(([x, value]) => `${x.toFixed(1)},${(46 - (44 * value) / highest).toFixed(1)}`);
  const chart = $(id);
  if (!points.length) return;
  const first = points[0].split(",")[0];
  const last = points.at(-1).split(",")[0];
  chart.replaceChildren(
    shape("polygon", "under", `${first},48 ${points.join(" ")} ${last},48`),
    shape("polyline", "line", points.join(" ")),
  );
}

function shape(tag, className, points) {
  const node = document.createElementNS(SVG, tag);
  node.setAttribute("class", className);
  node.setAttribute("points", points);
  return node;
}
