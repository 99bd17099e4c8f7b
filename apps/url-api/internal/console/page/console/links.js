// The newest links, with the clicks that they have had.

import { byId, make, notice, outward } from "./dom.js";

const most = 6;
const settle = 1500; // milliseconds from a click's arrival until its link's clicks are counted again

/** Links is the list, for one key. refused(problem) hears of a key that is none. */
export class Links {
  #api;
  #refused;
  #rows = new Map(); // by code: its row, the element of its count, and the state of the link that they show
  #recounts = new Map(); // by code: the timer
  #ended = false;

  constructor(api, { refused }) {
    this.#api = api;
    this.#refused = refused;
    this.load();
  }

  /** load asks for the list afresh. */
  async load() {
    try {
      const { links } = await this.#api.links(most);
      if (this.#ended) return;
      notice(byId("links-notice"), links.length ? "" : "There are none yet.");
      this.#show(links);
    } catch (problem) {
      if (this.#ended) return;
      if (problem.status === 401) this.#refused(problem);
      else if (problem.status === 403) notice(byId("links-notice"), `This key may not list links: it lacks the scope ${problem.scope || "links:read"}.`);
      else notice(byId("links-notice"), problem.message);
    }
  }

  /** clicked counts the clicks of those links again that are in the list, once the clicks have settled. */
  clicked(codes) {
    for (const code of codes) {
      if (!this.#rows.has(code) || this.#recounts.has(code)) continue;
      this.#recounts.set(code, setTimeout(() => {
        this.#recounts.delete(code);
        this.#count(code);
      }, settle));
    }
  }

  /** end empties the list and asks no more. */
  end() {
    this.#ended = true;
    for (const timer of this.#recounts.values()) clearTimeout(timer);
    byId("links").replaceChildren();
    notice(byId("links-notice"), "");
  }

  #show(links) {
    const rows = new Map();
    for (const link of links) {
      const known = this.#rows.get(link.code);
      rows.set(link.code, known?.state === stateOf(link) ? known : rowOf(link));
    }
    const fresh = links.filter(({ code }) => rows.get(code) !== this.#rows.get(code));
    this.#rows = rows;
    byId("links").replaceChildren(...Array.from(rows.values(), ({ row }) => row));
    for (const { code } of fresh) this.#count(code);
  }

  async #count(code) {
    try {
      const { clicks, bots } = await this.#api.stats(code);
      const place = this.#rows.get(code)?.count;
      if (this.#ended || !place) return;
      place.textContent = clicks === 1 ? "1 click" : `${clicks.toLocaleString()} clicks`;
      place.title = `in the last 30 days, and ${bots.toLocaleString()} of bots`;
    } catch {
      // The list is whole without figures; what is wrong with clicks is told beside them.
    }
  }
}

/** stateOf tells a link from what was under its code before it was changed, or deleted and made again. */
function stateOf(link) {
  return `${link.created_at} ${link.updated_at}`;
}

function rowOf(link) {
  const count = make("span", { class: "count" });
  const row = make("li", {},
    make("div", { class: "link-head" }, outward(link.short_url, `/${link.code}`, { class: "code" }), count),
    make("p", { class: "link-target", title: link.url, text: link.title || link.url.replace(/^https?:\/\//, "") }));
  return { row, count, state: stateOf(link) };
}
