// The API of this origin, as the page uses it.

const patience = 10000; // milliseconds until an answer must be there

/** Problem is an answer that is an error (RFC 9457), or no answer at all: then its status is 0. */
export class Problem extends Error {
  constructor(status, detail, { field = "", scope = "", retryAfter = 0 } = {}) {
    super(detail);
    this.status = status;
    this.field = field; // the field of the request that is wrong, if one is
    this.scope = scope; // what the key would need
    this.retryAfter = retryAfter; // seconds
  }

  /** refused says that the key is at fault, so that asking again is of no use. */
  get refused() { return this.status === 401 || this.status === 403; }
}

/** Api asks with one key. Its calls throw a Problem; one that its signal ends throws what fetch throws. */
export class Api {
  #key;

  constructor(key) { this.#key = key; }

  createLink(link) { return this.#ask("/links", { method: "POST", body: JSON.stringify(link) }); }

  links(limit) { return this.#ask(`/links?limit=${limit}`); }

  stats(code) { return this.#ask(`/links/${encodeURIComponent(code)}/stats?top=1&interval=month`, { quiet: true }); }

  clicks(limit, signal) { return this.#ask(`/clicks?limit=${limit}`, { signal, quiet: true }); }

  trace(id, signal) { return this.#ask(`/traces/${encodeURIComponent(id)}`, { signal, quiet: true }); }

  // A quiet call is one that the page repeats by itself. It starts a trace that is not sampled, where this browser is
  // trusted as it is on the same machine: the clicks' traces shall not be lost among those of looking at them.
  async #ask(path, { method = "GET", body, signal, quiet = false } = {}) {
    const headers = { Accept: "application/json", Authorization: `Bearer ${this.#key}` };
    if (body) headers["Content-Type"] = "application/json";
    if (quiet) headers.traceparent = `00-${randomHex(16)}-${randomHex(8)}-00`;
    const limit = AbortSignal.timeout(patience);
    let answer;
    let text;
    try {
      answer = await fetch(`/api/v1${path}`, {
        method, headers, body, signal: signal ? AbortSignal.any([signal, limit]) : limit, cache: "no-store", credentials: "omit",
      });
      text = await answer.text();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0, navigator.onLine ? "The API does not answer." : "This device is offline.");
    }
    const content = parsed(text);
    if (answer.ok && content) return content;
    throw problemOf(answer, content ?? {});
  }
}

// parsed is nothing when a text is no JSON: something between here and the API has answered.
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function problemOf(answer, { detail = "", title = "", field = "" }) {
  const challenge = answer.headers.get("WWW-Authenticate") ?? "";
  return new Problem(answer.status, detail || title || `The API answered ${answer.status}.`, {
    field,
    scope: /scope="([^"]*)"/.exec(challenge)?.[1] ?? "",
    retryAfter: Number(answer.headers.get("Retry-After")) || 0,
  });
}

function randomHex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
