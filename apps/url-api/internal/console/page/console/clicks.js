// The latest clicks of all links, as they come.

import { byId, make, notice } from "./dom.js";
import { Poll } from "./poll.js";
import { clockTime, fullTime } from "./time.js";

const most = 50;
const hush = 4000; // milliseconds between two announcements

/**
 * Clicks is the list, for one key. open(click) hears of a row that was chosen, came(clicks) of clicks that were not there
 * before, refused(problem) of a key that is none.
 */
export class Clicks {
  #handlers;
  #poll;
  #rows = new Map(); // by the click's id, newest first
  #first = true;
  #unannounced = 0;
  #announcer = 0;
  #listening = new AbortController();

  constructor(api, handlers) {
    this.#handlers = handlers;
    byId("clicks-pause").addEventListener("click", () => this.#toggle(), { signal: this.#listening.signal });
    this.#poll = new Poll(
      async (signal) => this.#show((await api.clicks(most, signal)).clicks),
      (state, problem, seconds) => this.#tell(state, problem, seconds),
    );
  }

  /** end empties the list and asks no more. */
  end() {
    this.#poll.end();
    this.#listening.abort();
    clearTimeout(this.#announcer);
    byId("clicks-rows").replaceChildren();
    byId("clicks-news").textContent = "";
    byId("clicks-panel").hidden = true;
    notice(byId("clicks-notice"), "");
    showPause(false);
  }

  #toggle() {
    this.#poll.paused = !this.#poll.paused;
    showPause(this.#poll.paused);
  }

  #tell(state, problem, seconds) {
    if (problem?.status === 401) return this.#handlers.refused(problem);
    const place = byId("clicks-state");
    const texts = {
      live: "Live",
      paused: this.#poll?.paused ? "Paused" : "Waiting until you look",
      retrying: `Again in ${seconds} s`,
      stopped: "Stopped",
    };
    place.dataset.state = state;
    if (place.textContent !== texts[state]) place.textContent = texts[state];
    if (state === "stopped") notice(byId("clicks-notice"), `This key may not see clicks: it lacks the scope ${problem.scope || "stats:read"}.`);
    else if (state === "retrying") notice(byId("clicks-notice"), problem.message);
    else if (state === "live") notice(byId("clicks-notice"), this.#rows.size ? "" : "There are none yet. Shorten an address and open it: its click appears here within a second or two.");
  }

  // #show puts new clicks on top and leaves the rows that are there alone, so that focus and reading place stay.
  #show(clicks) {
    const came = clicks.filter((click) => !this.#rows.has(click.id));
    if (came.length > 0) {
      const known = this.#rows;
      this.#rows = new Map(clicks.map((click) => [click.id, known.get(click.id) ?? this.#rowOf(click)]));
      for (const [id, row] of known) {
        if (!this.#rows.has(id)) row.remove();
      }
      place(byId("clicks-rows"), [...this.#rows.values()]);
      byId("clicks-panel").hidden = false;
      if (!this.#first) {
        this.#announce(came.length);
        this.#handlers.came(came);
      }
    }
    this.#first = false;
  }

  // #announce tells screen readers how many came, seldom enough to be bearable.
  #announce(count) {
    this.#unannounced += count;
    if (this.#announcer) return;
    const say = () => {
      this.#announcer = 0;
      if (this.#unannounced === 0) return;
      byId("clicks-news").textContent = this.#unannounced === 1 ? "1 new click" : `${this.#unannounced} new clicks`;
      this.#unannounced = 0;
      this.#announcer = setTimeout(say, hush);
    };
    say();
  }

  #rowOf(click) {
    const row = make("li", { class: this.#first ? "" : "new" },
      make("button", { type: "button", "aria-haspopup": "dialog", onclick: () => this.#handlers.open(click) },
        make("time", { datetime: click.time, title: fullTime(click.time), text: clockTime(click.time) }),
        make("span", { class: "code", text: `/${click.code}` }),
        make("span", { class: "visitor" }, visitor(click), click.bot ? make("span", { class: "badge", text: "bot" }) : null),
        make("span", { class: "from", text: from(click) }),
        make("span", { class: "trace-id", text: click.sampled === false ? "not sampled" : click.trace_id.slice(0, 8) })));
    return row;
  }
}

// place brings a list's rows into an order and moves none that stands right.
function place(list, rows) {
  let at = list.firstElementChild;
  for (const row of rows) {
    if (row === at) at = at.nextElementSibling;
    else list.insertBefore(row, at);
  }
}

/** visitor tells in a few words what a click was made with. */
export function visitor(click) {
  const known = [click.browser, click.os, click.device].filter((word) => word && word !== "unknown" && word !== "bot");
  return known.length ? known.join(" · ") : click.user_agent || "unknown";
}

function from(click) {
  const host = /^[a-z]+:\/\/([^/]+)/i.exec(click.referrer)?.[1] ?? click.referrer;
  return [click.country, host].filter(Boolean).join(" · ") || "–";
}

function showPause(paused) {
  const button = byId("clicks-pause");
  button.setAttribute("aria-pressed", String(paused));
}
