// Requests to this server, with the keys that were typed in.

const keys = { api: "", admin: "" };
let allowed = false;

export function useKeys(api, admin) {
  keys.api = api.trim();
  keys.admin = admin.trim();
}

/** Whether this server lets us load, unload and pin: it says so with its list of experts. */
export const mayChange = () => allowed;

export function noteAllowed(response) {
  allowed = response.headers.get("x-hive-admin") === "yes";
}

function headers() {
  const found = { "content-type": "application/json" };
  const key = keys.admin || keys.api;
  if (key) found.authorization = `Bearer ${key}`;
  return found;
}

/** What an error of the server says, in its own words. */
async function refusal(response) {
  let message = `HTTP ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // Not in OpenAI's shape: the status has to do.
  }
  if (response.status === 401 || response.status === 403) message += " (see Keys, above)";
  return new Error(message);
}

async function answered(request) {
  const response = await request;
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function get(path, signal) {
  return answered(fetch(path, { headers: headers(), signal }));
}

export async function post(path, body, signal) {
  return answered(
    fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(body), signal }),
  );
}

export async function change(path) {
  return answered(fetch(path, { method: "POST", headers: headers(), body: "{}" }));
}

export async function remove(path) {
  return answered(fetch(path, { method: "DELETE", headers: headers() }));
}

/** The JSON objects of a streamed answer, as they come. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}
