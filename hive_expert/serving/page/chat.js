// The chat: streamed answers, and who gave them and why.

import { $, element } from "./dom.js";
import { events, post } from "./server.js";

let history = [];
let stopping = null;

export function startChat() {
  $("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("message").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("chat-form").requestSubmit();
    }
  });
  $("stop").addEventListener("click", () => stopping?.abort());
  $("clear").addEventListener("click", () => {
    stopping?.abort();
    history = [];
    $("log").replaceChildren(element("p", "empty", "Ask something."));
    $("message").focus();
  });
}

async function send() {
  const text = $("message").value.trim();
  if (!text || stopping) return;
  $("message").value = "";
  busy(true);
  show("user", "you", text);
  const turn = show("model", "…", "");
  try {
    await answer(text, turn);
  } catch (error) {
    if (error.name === "AbortError") turn.why.append(turn.why.textContent ? " · " : "", "stopped");
    else {
      turn.who.textContent = "not answered";
      turn.why.textContent = error.message;
      turn.why.classList.add("bad");
    }
  } finally {
    busy(false);
    $("message").focus();
  }
}

async function answer(text, turn) {
  const asked = { role: "user", content: text };
  const before = history; // another one once it is cleared
  const system = $("system").value.trim();
  const longest = $("longest").valueAsNumber;
  const started = performance.now();
  const response = await post(
    "/v1/chat/completions",
    {
      model: $("model").value,
      messages: [...(system ? [{ role: "system", content: system }] : []), ...before, asked],
      stream: true,
      stream_options: { include_usage: true },
      ...(longest > 0 ? { max_tokens: longest } : {}),
    },
    stopping.signal,
  );
  const experts = response.headers.get("x-hive-experts");
  const route = response.headers.get("x-hive-route");
  turn.who.textContent = experts || "base model";
  if (route) turn.why.textContent = `why: ${route}`;
  let first = 0;
  let tokens = 0;
  let cut = false;
  try {
    for await (const chunk of events(response)) {
      if (chunk.error) throw new Error(chunk.error.message);
      for (const choice of chunk.choices) {
        if (choice.delta.content) {
          first ||= performance.now();
          turn.said.append(choice.delta.content);
          keepInView();
        }
        cut ||= choice.finish_reason === "length";
      }
      tokens = chunk.usage?.completion_tokens ?? tokens;
    }
  } finally {
    if (turn.said.textContent) {
      before.push(asked, { role: "assistant", content: turn.said.textContent });
    }
  }
  const seconds = (performance.now() - started) / 1000;
  const figures = [`${tokens} tokens`, `${(tokens / seconds).toFixed(0)}/s`];
  if (first) figures.push(`first after ${Math.round(first - started)} ms`);
  if (cut) figures.push("cut off: no more tokens were allowed");
  turn.why.append(turn.why.textContent ? " · " : "", figures.join(", "));
}

function show(kind, who, said) {
  $("log").querySelector(".empty")?.remove();
  const turn = {
    who: element("div", "who", who),
    said: element("div", "said", said),
    why: element("p", "why"),
  };
  $("log").append(element("div", `turn ${kind}`, turn.who, turn.said, turn.why));
  keepInView();
  return turn;
}

function keepInView() {
  const log = $("log");
  log.scrollTop = log.scrollHeight;
}

function busy(is) {
  stopping = is ? new AbortController() : null;
  $("stop").hidden = !is;
  $("send").disabled = is;
}
