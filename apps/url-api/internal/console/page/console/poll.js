// Asking again and again, as long as somebody looks.

/** How often is asked, and how far apart after failures, in milliseconds. */
const pace = 1000;
const slowest = 30000;

/**
 * Poll calls ask(signal) every second while the page is visible and nobody has paused it. A failure doubles the pause up to
 * half a minute, or as long as the answer says; a key that is refused ends it. tell(state, problem, seconds) hears of each
 * change: "live", "paused", "retrying" with the seconds until the next attempt, "stopped".
 */
export class Poll {
  #ask;
  #tell;
  #paused = false;
  #ended = false;
  #failures = 0;
  #timer = 0;
  #asking = null;
  #listening = new AbortController();

  constructor(ask, tell) {
    this.#ask = ask;
    this.#tell = tell;
    const { signal } = this.#listening;
    document.addEventListener("visibilitychange", () => this.#wake(), { signal });
    window.addEventListener("online", () => this.#wake(), { signal });
    window.addEventListener("offline", () => this.#wake(), { signal });
    this.#wake();
  }

  get paused() { return this.#paused; }

  set paused(paused) {
    this.#paused = paused;
    this.#wake();
  }

  /** end stops for good. */
  end() {
    this.#ended = true;
    this.#listening.abort();
    this.#rest();
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#asking = null;
  }

  // #wake starts afresh after something has changed.
  #wake() {
    if (this.#ended) return;
    this.#rest();
    this.#failures = 0;
    if (this.#paused || document.hidden) this.#tell("paused", null, 0);
    else this.#turn();
  }

  async #turn() {
    const asking = new AbortController();
    this.#asking = asking;
    const began = performance.now();
    let wait = pace;
    try {
      await this.#ask(asking.signal);
      if (asking.signal.aborted) return;
      this.#failures = 0;
      this.#tell("live", null, 0);
    } catch (problem) {
      if (asking.signal.aborted) return;
      if (problem.refused) {
        this.end();
        this.#tell("stopped", problem, 0);
        return;
      }
      if (problem.status === undefined) reportError(problem); // a fault of this page
      this.#failures++;
      wait = Math.max(Math.min(pace * 2 ** this.#failures, slowest), (problem.retryAfter ?? 0) * 1000);
      this.#tell("retrying", problem, Math.round(wait / 1000));
    }
    this.#timer = setTimeout(() => this.#turn(), Math.max(0, wait - (performance.now() - began)));
  }
}
