// The dialog that shows a click and its trace.

import { byId, copyButton, make, outward } from "./dom.js";
import { fullTime } from "./time.js";
import { visitor } from "./clicks.js";
import { Waterfall, whole } from "./waterfall.js";

const pace = 700; // milliseconds between two looks
const patience = 30000; // how long is waited for spans
const late = 3; // looks at a trace that is whole: spans beside the way of the click, such as a cache's, may follow
const old = 60000; // a click older than this has all its spans, or never will

/** TraceDialog opens the trace of a click. refused(problem) hears of a key that is none. */
export class TraceDialog {
  #api;
  #refused;
  #dialog = byId("trace");
  #looking = null;
  #waterfall = null;
  #listening = new AbortController();

  constructor(api, { refused }) {
    this.#api = api;
    this.#refused = refused;
    const { signal } = this.#listening;
    byId("trace-close").addEventListener("click", () => this.#dialog.close(), { signal });
    this.#dialog.addEventListener("close", () => this.#closed(), { signal });
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // beside the sheet
    }, { signal });
  }

  /** open shows a click and draws its trace as it arrives. Closing gives the focus back to where it was. */
  open(click) {
    this.#closed();
    const state = make("p", { class: "progress", role: "status" });
    this.#waterfall = new Waterfall();
    byId("trace-title").textContent = `A click on /${click.code}`;
    byId("trace-subtitle").replaceChildren(make("time", { datetime: click.time, text: fullTime(click.time) }), ` · ${visitor(click)}`,
      click.bot ? make("span", { class: "badge", text: "bot" }) : "");
    byId("trace-body").replaceChildren(make("div", { class: "standing" }, state, names(click)), this.#waterfall.element, facts(click));
    this.#dialog.showModal();
    byId("trace-title").focus();
    if (click.sampled === false) {
      say(state, "idle", "This click was not sampled: it was counted, and its spans were not recorded. The share of traces that is recorded is the sampler's ratio.");
      return;
    }
    this.#look(click, state);
  }

  /** end closes the dialog and asks no more. */
  end() {
    this.#dialog.close();
    this.#closed();
    this.#listening.abort();
  }

  #closed() {
    this.#looking?.abort();
    this.#waterfall?.end();
    this.#looking = this.#waterfall = null;
    byId("trace-body").replaceChildren();
  }

  // #look asks until the trace is whole, or patience ends.
  async #look(click, state) {
    this.#looking?.abort();
    const looking = new AbortController();
    this.#looking = looking;
    const { signal } = looking;
    const isOld = Date.now() - Date.parse(click.time) > old;
    const deadline = performance.now() + (isOld ? 0 : patience);
    let drawn = -1;
    let after = 0;
    say(state, "busy", "Looking for its spans…");
    for (;;) {
      let problem = null;
      try {
        const trace = await this.#api.trace(click.trace_id, signal);
        if (trace.spans.length !== drawn) this.#waterfall.draw(trace);
        drawn = trace.spans.length;
        if (whole(trace.spans)) after++;
        if (after > 0) say(state, "done", "Whole: from the redirect to the row in the database.");
        else say(state, "busy", "The spans of the consumer are still on their way…");
        if (after > late || (isOld && after > 0)) return;
      } catch (error) {
        if (signal.aborted) return;
        if (error.status === 401) return this.#refused(error);
        problem = error;
        if (problem.status !== 404 && problem.status !== 503 && problem.status !== 0) return say(state, "bad", explained(problem));
      }
      if (performance.now() >= deadline) {
        const text = problem ? explained(problem) : after > 0 ? "" : "Some spans of this trace are missing. They were not recorded, or are no longer kept.";
        if (text) say(state, "bad", text, () => this.#look(click, state));
        return;
      }
      await pause(pace, signal);
      if (signal.aborted) return;
    }
  }
}

function explained(problem) {
  return problem.status === 403 ? `This key may not see traces: it lacks the scope ${problem.scope || "stats:read"}.` : problem.message;
}

// say tells how the search stands. Words that are the same are not said again: a screen reader would repeat them.
function say(place, state, text, again = null) {
  if (place.dataset.state === state && place.firstChild?.textContent === text) return;
  place.dataset.state = state;
  place.replaceChildren(make("span", { text }), again ? make("button", { type: "button", class: "quiet", text: "Look again", onclick: again }) : "");
}

// names are the trace's id and where else it can be seen.
function names(click) {
  return make("p", { class: "names" }, make("span", { class: "unseen", text: "trace" }), make("code", { text: click.trace_id }),
    copyButton(click.trace_id, "the trace id"), click.trace_url ? outward(click.trace_url, "Open in Jaeger", { class: "quiet" }) : "");
}

function facts(click) {
  const shown = [["came from", click.referrer], ["country", click.country], ["language", click.language], ["user agent", click.user_agent]];
  return make("dl", { class: "facts" },
    ...shown.filter(([, value]) => value).map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
