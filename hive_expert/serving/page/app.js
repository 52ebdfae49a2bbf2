// The page: what starts it and what keeps it fresh.

import { startChat } from "./chat.js";
import { $ } from "./dom.js";
import { showExperts, startExperts } from "./experts.js";
import { newKeys, startJobs } from "./jobs.js";
import { showLive } from "./live.js";
import { startRoute } from "./route.js";
import { get, useKeys } from "./server.js";

const EXPERTS_EVERY_MS = 5000;
const LIVE_EVERY_MS = 2000;

/** Do something now and again and again, but not while nobody looks. */
function repeat(task, every) {
  const run = async () => {
    if (!document.hidden) {
      try {
        await task();
        connected("");
      } catch (error) {
        connected(error.message);
      }
    }
    setTimeout(run, every);
  };
  run();
}

let base = "";

function connected(problem) {
  const text = problem || `serving ${base || "…"}`;
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("bad", problem !== "");
}

async function nameBase() {
  const { data } = await (await get("/v1/models")).json();
  base = data.find((model) => !model.parent)?.id ?? "";
}

$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  useKeys($("api-key").value, $("admin-key").value);
  $("keys").open = false;
  newKeys();
  try {
    await showExperts();
    await nameBase();
    connected("");
  } catch (error) {
    connected(error.message);
  }
});

startChat();
startExperts();
startRoute();
startJobs();
repeat(async () => {
  await showExperts();
  if (!base) await nameBase();
}, EXPERTS_EVERY_MS);
repeat(showLive, LIVE_EVERY_MS);
