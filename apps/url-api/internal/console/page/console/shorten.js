// The form that makes a short link.

import { byId, copyButton, make, notice, outward } from "./dom.js";

const fields = {
  url: "shorten-url",
  slug: "shorten-slug",
  title: "shorten-title-field",
  tags: "shorten-tags",
  expires_at: "shorten-expires",
};

/** Shorten is the form, for one key. made(link) hears of each new link, refused(problem) of a key that is none. */
export class Shorten {
  #api;
  #made;
  #refused;
  #listening = new AbortController();

  constructor(api, { made, refused }) {
    this.#api = api;
    this.#made = made;
    this.#refused = refused;
    byId("shorten").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    }, { signal: this.#listening.signal });
  }

  /** end takes everything out of the form and lets go of it. */
  end() {
    this.#listening.abort();
    byId("shorten").reset();
    byId("made").replaceChildren();
    clearErrors();
  }

  async #submit() {
    clearErrors();
    const button = byId("shorten-submit");
    if (button.disabled) return;
    const wanted = filledIn();
    if (!wanted.url) return showError("url", "An address to shorten is needed.");
    button.disabled = true;
    try {
      const link = await this.#api.createLink(wanted);
      if (this.#listening.signal.aborted) return;
      byId("shorten").reset();
      byId("shorten-more").open = false;
      showMade(link);
      this.#made(link);
    } catch (problem) {
      if (this.#listening.signal.aborted) return;
      if (problem.status === 401) this.#refused(problem);
      else if (problem.status === 403) showError("", `This key may not make links: it lacks the scope ${problem.scope || "links:write"}.`);
      else showError(problem.field, problem.message);
    } finally {
      button.disabled = false;
    }
  }
}

function filledIn() {
  const text = (field) => byId(fields[field]).value.trim();
  const wanted = { url: text("url") };
  // People leave the scheme out; a browser's address bar lets them.
  if (wanted.url && !/^[a-z][a-z0-9+.-]*:(?!\d)/i.test(wanted.url)) wanted.url = `https://${wanted.url}`;
  if (text("slug")) wanted.slug = text("slug");
  if (text("title")) wanted.title = text("title");
  const tags = text("tags").split(",").map((tag) => tag.trim()).filter(Boolean);
  if (tags.length) wanted.tags = tags;
  if (text("expires_at")) wanted.expires_at = new Date(text("expires_at")).toISOString();
  return wanted;
}

function showMade(link) {
  const shown = link.short_url.replace(/^https?:\/\//, "");
  byId("made").replaceChildren(make("div", { class: "made" },
    make("p", { class: "made-address" }, outward(link.short_url, shown)),
    make("p", { class: "made-target", text: `leads to ${link.url}` }),
    make("div", { class: "actions" }, copyButton(link.short_url, "the short address"),
      outward(link.short_url, "Open it", { class: "quiet", id: "made-open" }))));
}

// showError puts a message at the field that it is about, or below the form when there is none.
function showError(field, message) {
  const input = fields[field] && byId(fields[field]);
  if (!input) return notice(byId("shorten-error"), message);
  if (byId("shorten-more").contains(input)) byId("shorten-more").open = true;
  input.setAttribute("aria-invalid", "true");
  byId(input.getAttribute("aria-describedby")).textContent = message;
  input.focus();
}

function clearErrors() {
  notice(byId("shorten-error"), "");
  for (const id of Object.values(fields)) {
    const input = byId(id);
    input.removeAttribute("aria-invalid");
    byId(input.getAttribute("aria-describedby")).textContent = "";
  }
}
