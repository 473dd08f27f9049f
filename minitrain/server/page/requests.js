// Asks the server: JSON, and streams of server-sent events.

let key = sessionStorage.getItem("key") || "";
const given = /^#key=(.+)$/.exec(location.hash);
if (given) {
  useKey(decodeURIComponent(given[1]));
  history.replaceState(null, "", location.pathname);  // the key is not to stay in the address bar
}

export function useKey(text) {
  key = text;
  sessionStorage.setItem("key", text);
}

export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function send(path, body, signal) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const options = { headers, signal };
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Is it still running?", 0);
  }
  if (!response.ok) {
    const told = await response.json().catch(() => null);
    throw new Refusal(told?.error?.message || `The server answered with ${response.status}.`, response.status);
  }
  return response;
}

export async function ask(path, body, signal) {
  return (await send(path, body, signal)).json();
}

// The pieces of a streamed answer, as they come. Aborting the signal ends the work on the server too.
export async function* stream(path, body, signal) {
  const reader = (await send(path, body, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Refusal("The server ended the answer early.", 0);
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const piece = JSON.parse(data);
      if (piece.error) throw new Refusal(piece.error.message, 0);
      yield piece;
    }
  }
}
