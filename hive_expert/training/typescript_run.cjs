// Runs translated programs, each in a context of its own that shares no object with this one.
// In: {"programs": ["…"], "limit_ms": 2000} on stdin until its end. Out:
//   {"results": [{"checks": 3, "failed": ["…"]}]}; "failed" also tells what was thrown.
"use strict";
const fs = require("fs");
const vm = require("vm");

const HARNESS = `
"use strict";
var exports = {};
var module = { exports };
var console = { log() {}, error() {} };
const outcome = { checks: 0, failed: [] };
const show = (value) => {
  try {
    return String(JSON.stringify(value, (_, v) =>
      v instanceof Map ? { map: [...v] } : v instanceof Set ? { set: [...v] } :
      typeof v === "bigint" ? v + "n" : v)).slice(0, 120);
  } catch { return String(value).slice(0, 120); }
};
function same(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a === "number" && typeof b === "number") {
    return a === b || Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a), Math.abs(b));
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Date) return same(a.getTime(), b.getTime());
  if (a instanceof Map) return same([...a], [...b]);
  if (a instanceof Set) return a.size === b.size && [...a].every((v) => [...b].some((w) => same(v, w)));
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}
function expectEqual(actual, expected) {
  outcome.checks += 1;
  if (!same(actual, expected)) outcome.failed.push(show(actual) + " is not " + show(expected));
}
function expectThrows(act) {
  outcome.checks += 1;
  try { act(); } catch { return; }
  outcome.failed.push("nothing was thrown");
}
function expectResolves(promise, expected) {
  outcome.checks += 1;
  const at = outcome.failed.push("a promise that never resolves") - 1;
  promise.then(
    (value) => { outcome.failed[at] = same(value, expected) ? "" : show(value) + " is not " + show(expected); },
    (error) => { outcome.failed[at] = "rejected: " + error; });
}
`;

function run(program, limit) {
  const context = vm.createContext(undefined, {
    codeGeneration: { strings: false, wasm: false },
    microtaskMode: "afterEvaluate",
  });
  const inside = (code) => vm.runInContext(code, context, { timeout: limit });
  inside(HARNESS);
  try {
    inside(`(() => {${program}\n})();`);
  } catch (error) {
    return { checks: 0, failed: ["threw: " + String(error).slice(0, 160)] };
  }
  const told = JSON.parse(inside("JSON.stringify(outcome)"));
  return { checks: told.checks, failed: told.failed.filter((text) => text !== "") };
}

const job = JSON.parse(fs.readFileSync(0, "utf8"));
const results = job.programs.map((program) => run(program, job.limit_ms));
process.stdout.write(JSON.stringify({ results }));
