// Draws a trace: its spans as bars on one time axis, each below its parent.

import { make } from "./dom.js";
import { duration, microseconds, ticks, tickText } from "./time.js";

const palettes = { "url-api": 1, "analytics-consumer": 2, "analytics-rpc": 3 };
const palette = 6; // how many colours there are
const most = 500; // spans that are drawn; a click's trace has six, a caller's own may be larger

/** measure gives spans their places: start and end in microseconds from the trace's first moment, and the whole. */
export function measure(spans) {
  const first = Math.min(...spans.map((span) => microseconds(span.start)));
  const placed = spans.map((span) => {
    const start = microseconds(span.start) - first;
    return { ...span, begin: start, end: start + span.duration_us };
  });
  return { spans: placed, total: Math.max(1, ...placed.map((span) => span.end)) };
}

/** whole says whether a trace is that of a click from its redirect to its row in the store, with all that lies between. */
export function whole(spans) {
  const known = new Set(spans.map((span) => span.span_id));
  const first = spans.some((span) => span.name === "GET /{code}");
  const last = spans.some((span) => span.name === "INSERT clicks");
  const gapless = spans.every((span) => span.name === "GET /{code}" || !span.parent_id || known.has(span.parent_id));
  return first && last && gapless;
}

/** Waterfall is the drawing of one trace. */
export class Waterfall {
  #trace = "";
  #spans = [];
  #total = 1;
  #rows = new Map(); // by span id: its details element and bar
  #colours = new Map();
  #links = make("div", { class: "strings", "aria-hidden": "true" });
  #tree = make("div", { class: "tree" });
  #watch = new ResizeObserver(() => this.#tie());

  /** element is where the drawing is. */
  element = make("div", { class: "waterfall" });

  constructor() { this.#watch.observe(this.#tree); }

  /** end lets go of the drawing. */
  end() { this.#watch.disconnect(); }

  /** draw shows a trace; what was open and had the focus stays so. */
  draw(trace) {
    const open = [...this.#rows].filter(([, { details }]) => details.open).map(([id]) => id);
    const focused = [...this.#rows].find(([, { details }]) => details.contains(document.activeElement))?.[0];
    this.#trace = trace.trace_id;
    ({ spans: this.#spans, total: this.#total } = measure(trace.spans.slice(0, most)));
    this.#rows.clear();
    this.#tree.replaceChildren(make("ol", {}, ...this.#roots()));
    this.element.replaceChildren(this.#legend(trace.spans.length), this.#axis(), make("div", { class: "chart" }, this.#tree, this.#links));
    for (const id of open) if (this.#rows.has(id)) this.#rows.get(id).details.open = true;
    this.#rows.get(focused)?.details.firstElementChild.focus();
    this.#tie();
  }

  // #roots are the rows of spans whose parent is not here, each with what hangs on it. Broken spans may be each other's
  // parents: those come last.
  #roots() {
    const known = new Set(this.#spans.map((span) => span.span_id));
    const children = new Map();
    for (const span of this.#spans) {
      if (known.has(span.parent_id)) children.set(span.parent_id, [...(children.get(span.parent_id) ?? []), span]);
    }
    const rows = this.#spans.filter((span) => !known.has(span.parent_id)).map((span) => this.#row(span, 0, children));
    for (const span of this.#spans) {
      if (!this.#rows.has(span.span_id)) rows.push(this.#row(span, 0, children));
    }
    return rows;
  }

  #row(span, depth, children) {
    const failed = span.attributes["otel.status_code"] === "ERROR";
    const bar = make("span", { class: "bar" });
    bar.style.setProperty("--from", share(span.begin, this.#total));
    bar.style.setProperty("--width", share(span.duration_us, this.#total));
    const summary = make("summary", {},
      make("span", { class: "span-name" },
        make("span", { class: "span-title" }, make("span", { class: "span-text", text: span.name }), failed ? make("span", { class: "badge bad", text: "error" }) : null),
        make("span", { class: "span-facts" }, make("span", { class: "service", text: span.service }), make("span", { text: span.kind.toLowerCase() }),
          ...span.links.map((link) => make("span", { class: "linked", text: `linked to ${this.#named(link)}` })))),
      make("span", { class: "span-duration", text: duration(span.duration_us) }),
      make("span", { class: "track", "aria-hidden": "true" }, bar));
    const details = make("details", { class: failed ? "failed" : "", "data-colour": this.#colour(span.service) }, summary, this.#particulars(span));
    details.addEventListener("toggle", () => this.#tie());
    this.#rows.set(span.span_id, { details, bar, span });
    const below = [];
    for (const child of children.get(span.span_id) ?? []) {
      if (!this.#rows.has(child.span_id)) below.push(this.#row(child, depth + 1, children));
    }
    const row = make("li", {}, details, below.length ? make("ol", {}, ...below) : null);
    row.style.setProperty("--depth", Math.min(depth, 12));
    return row;
  }

  // #particulars is what opens below a span.
  #particulars(span) {
    const facts = [["starts after", duration(span.begin)], ["span id", span.span_id]];
    if (span.parent_id && !this.#spans.some((other) => other.span_id === span.parent_id)) {
      facts.push(["parent", `${span.parent_id}, which is not in this trace`]);
    }
    for (const link of span.links) {
      facts.push(["link", link.trace_id === this.#trace ? `${this.#named(link)}, span ${link.span_id}` : `trace ${link.trace_id}, span ${link.span_id}`]);
    }
    const attributes = Object.entries(span.attributes).sort(([a], [b]) => (a < b ? -1 : 1));
    return make("dl", { class: "particulars" },
      ...[...facts, ...attributes].map(([name, value]) =>
        make("div", {}, make("dt", { text: name }), make("dd", { text: typeof value === "object" ? JSON.stringify(value) : String(value) }))));
  }

  #named(link) {
    if (link.trace_id !== this.#trace) return "another trace";
    return this.#spans.find((span) => span.span_id === link.span_id)?.name ?? "a span not here yet";
  }

  #legend(known) {
    const services = [...new Set(this.#spans.map((span) => span.service))];
    const count = known === 1 ? "1 span" : known > most ? `the first ${most} of ${known} spans` : `${known} spans`;
    return make("p", { class: "legend" }, make("strong", { text: count }), make("span", { text: `in ${duration(this.#total)}` }),
      ...services.map((service) => make("span", { class: "service", "data-colour": this.#colour(service), text: service })));
  }

  #axis() {
    const axis = make("div", { class: "ticks" });
    const marks = ticks(this.#total, 7);
    for (const at of marks.filter((at) => at < 0.88 * this.#total)) { // the last would not fit
      const mark = make("span", { class: "tick", text: tickText(at) });
      mark.style.setProperty("--from", share(at, this.#total));
      axis.append(mark);
    }
    this.#tree.style.setProperty("--step", share(marks[1] ?? this.#total, this.#total));
    return make("div", { class: "axis", "aria-hidden": "true" }, axis);
  }

  #colour(service) {
    if (!this.#colours.has(service)) {
      this.#colours.set(service, palettes[service] ?? (this.#colours.size + 3) % palette + 1);
    }
    return this.#colours.get(service);
  }

  // #tie draws a string from the end of a span to the start of each that links to it: there a message was handed over.
  #tie() {
    const origin = this.#tree.getBoundingClientRect();
    const strings = [];
    for (const { bar, span } of this.#rows.values()) {
      for (const link of span.links) {
        const from = this.#rows.get(link.span_id);
        if (link.trace_id !== this.#trace || !from || origin.width === 0) continue;
        const a = from.bar.getBoundingClientRect();
        const b = bar.getBoundingClientRect();
        const left = from.span.end <= span.begin ? a.right : b.left;
        const string = make("span", { class: "string" });
        string.style.setProperty("left", `${Math.min(left, b.left) - origin.left}px`);
        string.style.setProperty("width", `${Math.abs(b.left - left)}px`);
        string.style.setProperty("top", `${a.bottom - origin.top}px`);
        string.style.setProperty("height", `${Math.max(0, (b.top + b.bottom) / 2 - a.bottom)}px`);
        strings.push(string);
      }
    }
    this.#links.replaceChildren(...strings);
  }
}

function share(part, total) { return `${((100 * part) / total).toFixed(4)}%`; }
