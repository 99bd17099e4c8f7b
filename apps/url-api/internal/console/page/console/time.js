// Times and durations as people read them.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** clockTime is the time of a moment, with its day when that is not today. */
export function clockTime(moment) {
  const date = new Date(moment);
  const time = clock.format(date);
  return date.toDateString() === new Date().toDateString() ? time : `${day.format(date)}, ${time}`;
}

/** fullTime is a moment with its date. */
export function fullTime(moment) { return full.format(new Date(moment)); }

/** microseconds since 1970 of an RFC 3339 time; a Date would cut it to milliseconds, which is longer than most spans. */
export function microseconds(moment) {
  const fraction = /\.(\d+)/.exec(moment)?.[1] ?? "";
  const whole = Date.parse(moment.replace(/\.\d+/, ""));
  return whole * 1000 + Number(`0.${fraction || 0}`) * 1e6;
}

/** duration of some microseconds in the unit that suits it. */
export function duration(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e5 ? 2 : 1)} ms`;
  return `${(us / 1e6).toFixed(2)} s`;
}

/** ticks are at most count round steps from 0 to total microseconds, the end left out. */
export function ticks(total, count) {
  if (!(total > 0)) return [0];
  const rough = total / count;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = magnitude * ([1, 2, 5].find((factor) => factor * magnitude >= rough) ?? 10);
  const found = [];
  for (let at = 0; at < total; at += step) found.push(at);
  return found;
}

/** tickText is a tick's time, without digits that tell nothing. */
export function tickText(us) {
  if (us === 0) return "0";
  if (us < 1000) return `${+us.toPrecision(3)} µs`;
  if (us < 1e6) return `${+(us / 1000).toPrecision(3)} ms`;
  return `${+(us / 1e6).toPrecision(3)} s`;
}
