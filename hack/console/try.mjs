// Tries the console as people use it, in a real browser: a key, a link, a click on it, its row, its trace. What is wrong is
// listed in the end; then the exit code is 1. With --screenshots it writes docs/images/console-*.png.

import { findings, launch, open, overflow, stops } from "./browser.mjs";
import { landing, start } from "./system.mjs";

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const visitors = [
  { agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", from: "https://news.ycombinator.com/", language: "en-US" },
  { agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0", from: "https://www.bing.com/", language: "fr-FR" },
  { agent: "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", from: "", language: "" },
  { agent: "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36", from: "https://www.reddit.com/r/golang/", language: "de-DE" },
  { agent: firefox, from: "https://go.dev/", language: "en-GB" },
];
const hostile = "<img src=x onerror=\"document.title='broken'\">";
const screenshots = process.argv.includes("--screenshots");
const wrong = [];

// expect notes what is not as it should be, and goes on.
function expect(what, holds, seen = "") {
  console.log(`${holds ? "ok   " : "WRONG"} ${what}`);
  if (!holds) wrong.push(`${what}${seen === "" ? "" : `: ${typeof seen === "string" ? seen : JSON.stringify(seen)}`}`);
}

async function picture(page, name) {
  if (!screenshots) return;
  await page.mouse.move(0, 0);
  await page.screenshot({ path: `docs/images/console-${name}.png`, animations: "disabled", caret: "hide" });
}

// visit clicks on a short address as a browser would, without going where it leads.
async function visit(address, { agent = firefox, from = "", language = "en", traceparent = "" } = {}) {
  const headers = { "User-Agent": agent, "Accept-Language": language };
  if (from) headers.Referer = from;
  if (traceparent) headers.traceparent = traceparent;
  const answer = await fetch(address, { redirect: "manual", headers });
  if (answer.status !== 302) throw new Error(`${address} answered ${answer.status}`);
  return answer.headers.get("traceparent").split("-")[1];
}

// row is that of a click, by its trace.
function row(page, trace) { return page.locator("#clicks-rows button").filter({ hasText: trace.slice(0, 8) }); }

async function whole(page) { await page.waitForSelector('#trace .progress[data-state="done"]', { timeout: 20_000 }); }

// theKey: none, a wrong one, one by the keyboard, one in the address.
async function theKey(browser, system) {
  const page = await open(browser);
  await page.goto(system.api);
  expect("without a key the page asks for one, and the cursor is there", await page.evaluate(() => document.activeElement.id) === "gate-key");
  expect("axe: asking for the key", (await findings(page)).length === 0, await findings(page));
  await page.keyboard.type("no key");
  await page.keyboard.press("Enter");
  expect("what is no key is refused at the field", (await page.textContent("#gate-error")).includes("no API key"));
  await page.fill("#gate-key", `lt_${"a".repeat(12)}_${"b".repeat(43)}`);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#gate:not([hidden]) #gate-error:not(:empty)");
  expect("an unknown key is refused in words", (await page.textContent("#gate-error")).includes("refused"), await page.textContent("#gate-error"));
  await page.fill("#gate-key", system.key);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#clicks-state[data-state=live]");
  await page.reload();
  await page.waitForSelector("#clicks-state[data-state=live]");
  expect("the key stays in the tab over a reload", true);
  const kept = await page.evaluate(() => ({ session: Object.values(sessionStorage), local: localStorage.length, cookies: document.cookie, address: location.href }));
  expect("it is in the session storage alone", kept.session.join() === system.key && kept.local === 0 && kept.cookies === "" && !kept.address.includes("lt_"), kept);
  await page.click("#forget");
  expect("it can be forgotten", await page.isVisible("#gate-form") && await page.evaluate(() => sessionStorage.length) === 0);
  await page.goto(system.console);
  await page.waitForSelector("#clicks-state[data-state=live]");
  expect("a key in the address is taken and leaves the address bar", new URL(page.url()).hash === "", page.url());

  const token = (await system.linktrail("keys", "create", "--name", "reader", "--scope", "links:read", "--output", "json")).match(/lt_[0-9a-z]{12}_[0-9A-Za-z]{43}/)[0];
  await page.goto(`${system.api}/#key=${token}`);
  await page.waitForSelector("#clicks-state[data-state=stopped]");
  expect("a key without a scope: the page names the scope", (await page.textContent("#clicks-notice")).includes("stats:read"), await page.textContent("#clicks-notice"));
  await page.fill("#shorten-url", "https://go.dev/");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#shorten-error:not([hidden])");
  expect("so for shortening", (await page.textContent("#shorten-error")).includes("links:write"));
  await system.linktrail("keys", "revoke", token.split("_")[1]);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#gate:not([hidden]) #gate-error:not(:empty)");
  expect("a key that is revoked meanwhile: the page asks for another", /refused.*revoked/.test(await page.textContent("#gate-error")) &&
    await page.evaluate(() => sessionStorage.length) === 0, await page.textContent("#gate-error"));
  expect("no complaints while asking for the key", page.complaints.length === 0, page.complaints);
  await page.context().close();
}

// aLink makes one by the keyboard, after two that are wrong.
async function aLink(page, target) {
  await page.focus("#shorten-url");
  await page.keyboard.press("Enter");
  expect("without an address: told at the field", (await page.textContent("#shorten-url-error")).length > 0);
  await page.keyboard.type(target);
  await page.keyboard.press("Tab");
  await page.keyboard.type("hello");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#shorten-slug-error:not(:empty)");
  expect("a slug that is taken: told at the field, which has the focus",
    await page.evaluate(() => document.activeElement.id === "shorten-slug" && document.activeElement.getAttribute("aria-invalid") === "true"));
  await page.fill("#shorten-slug", "go-blog");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.fill("#shorten-title-field", hostile);
  await page.fill("#shorten-tags", "blog, go");
  await page.focus("#shorten-submit");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#made a");
  const address = await page.getAttribute("#made a", "href");
  expect("the short address is shown", address.endsWith("/go-blog"), address);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy the short address" }).click();
  await page.getByText("Copied").waitFor();
  expect("it can be copied", await page.evaluate(() => navigator.clipboard.readText()) === address);
  return address;
}

// aClick opens the link as people do, and waits for the click's row.
async function aClick(page, system) {
  const [landed] = await Promise.all([page.context().waitForEvent("page"), page.click("#made-open")]);
  await landed.waitForLoadState();
  expect("the link leads to its target", await landed.title() === "Landed");
  await landed.close();
  await page.locator("#clicks-rows li", { hasText: "/go-blog" }).first().waitFor({ timeout: 15_000 });
  expect("the click arrives by itself", true);
  expect("it is announced politely", /new click/.test(await page.textContent("#clicks-news")), await page.textContent("#clicks-news"));
  const { clicks } = await (await fetch(`${system.api}/api/v1/clicks?limit=1`, { headers: { Authorization: `Bearer ${system.key}` } })).json();
  expect("the visitor is this browser, and sends no referrer", clicks[0].browser === "Chrome" && !clicks[0].bot && clicks[0].referrer === "", clicks[0]);
  return clicks[0];
}

// itsTrace opens a click's trace by the keyboard and holds it against what the API and the command say.
async function itsTrace(page, system, click) {
  const button = row(page, click.trace_id);
  await button.focus();
  await page.keyboard.press("Enter");
  await whole(page);
  await page.waitForTimeout(2500); // it looks a few times more
  const drawn = await page.$$eval("#trace .tree li", (items) => items.map((item) => {
    const bar = item.querySelector(".bar").getBoundingClientRect();
    const track = item.querySelector(".track").getBoundingClientRect();
    return {
      name: item.querySelector(".span-text").textContent, service: item.querySelector(".service").textContent,
      kind: item.querySelector(".span-facts span:nth-child(2)").textContent.toUpperCase(),
      links: item.querySelector(":scope > details .linked")?.textContent ?? "",
      parent: item.parentElement.closest("li")?.querySelector(".span-text").textContent ?? "",
      colour: getComputedStyle(item.querySelector(".bar")).backgroundColor,
      from: (bar.left - track.left) / track.width, to: (bar.right - track.left) / track.width,
    };
  }));
  const told = JSON.parse(await system.linktrail("trace", click.trace_id, "--output", "json"));
  const names = (spans) => spans.map(({ service, kind, name }) => `${service} ${kind} ${name}`).join(", ");
  expect("the waterfall has the spans of `linktrail trace`, in its order", names(drawn) === names(told.spans), names(drawn));
  const of = (service) => drawn.filter((span) => span.service === service).map(({ name }) => name);
  expect("among them those of url-api", ["GET /{code}", "send click-events"].every((name) => of("url-api").includes(name)) && of("url-api").length >= 3, of("url-api"));
  expect("and of analytics-consumer", of("analytics-consumer").join() === "process click-events,INSERT clicks", of("analytics-consumer"));
  const span = (name) => drawn.find((each) => each.name === name);
  expect("each hangs on its parent", span("send click-events").parent === "GET /{code}" && span("process click-events").parent === "send click-events" &&
    span("INSERT clicks").parent === "process click-events", drawn);
  expect("the link from process to send is shown", span("process click-events").links.includes("send click-events") && await page.locator("#trace .string").count() === 1);
  expect("each service has its colour", new Set(drawn.map(({ service, colour }) => service + colour)).size === 2 && new Set(drawn.map(({ colour }) => colour)).size === 2);
  const first = Math.min(...told.spans.map(({ start }) => Date.parse(start)));
  const total = Math.max(...told.spans.map(({ start, duration_us }) => Date.parse(start) + duration_us / 1000)) - first;
  const off = told.spans.filter(({ start, duration_us }, i) => Math.abs(drawn[i].from - (Date.parse(start) - first) / total) > 0.05 ||
    Math.abs(drawn[i].to - (Date.parse(start) + duration_us / 1000 - first) / total) > 0.05);
  expect("bars are where their times are", off.length === 0 && drawn.every(({ from, to }) => from > -0.001 && to < 1.02), drawn);
  await page.locator("#trace summary").first().focus();
  await page.keyboard.press("Enter");
  expect("a span opens by the keyboard and shows its attributes", (await page.locator("#trace .particulars").first().textContent()).includes("http.route/{code}"));
  expect("axe: a trace", (await findings(page)).length === 0, await findings(page));
  await page.keyboard.press("Escape");
  expect("Escape closes it and the focus returns", !(await page.isVisible("#trace")) && await button.evaluate((each) => each === document.activeElement));
}

// strangers choose titles, referrers and user agents.
async function strangers(page, address) {
  const trace = await visit(address, { agent: `${firefox} ${hostile}`, from: `https://evil.example/${hostile}` });
  await row(page, trace).waitFor({ timeout: 15_000 });
  await row(page, trace).click();
  await whole(page);
  for (const summary of await page.locator("#trace summary").all()) await summary.click();
  expect("markup of strangers is text", (await page.textContent("#trace .facts")).includes(hostile) && (await page.textContent("#links")).includes(hostile) &&
    await page.locator("img").count() === 1 && await page.title() === "linktrail");
  await page.click("#trace-close");
}

// unsampled is a click of which no spans are recorded.
async function unsampled(page, address) {
  const trace = await visit(address, { traceparent: `00-${"4bf92f3577b34da6".repeat(2)}-00f067aa0ba902b7-00` });
  const button = page.locator("#clicks-rows button", { hasText: "not sampled" }).first();
  await button.waitFor({ timeout: 15_000 });
  await button.click();
  expect("a click that was not sampled says so", (await page.textContent("#trace .progress")).includes("not sampled"), trace);
  await page.keyboard.press("Escape");
}

// unseen is a page in a tab at the back.
async function unseen(page) {
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { configurable: true, value });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  let asked = 0;
  const count = (request) => { if (request.url().includes("/api/v1/clicks")) asked++; };
  await hide(true);
  page.on("request", count);
  await page.waitForTimeout(2500);
  page.off("request", count);
  expect("a page that nobody sees asks for nothing", asked === 0, `${asked} requests`);
  await hide(false);
  await page.waitForSelector("#clicks-state[data-state=live]");
}

// interruptions: the list says when it does not follow.
async function interruptions(page, address) {
  await page.click("#clicks-pause");
  expect("it says that it is paused", await page.textContent("#clicks-state") === "Paused");
  const trace = await visit(address);
  await page.waitForTimeout(2500);
  expect("and is", await row(page, trace).count() === 0);
  await page.click("#clicks-pause");
  await row(page, trace).waitFor({ timeout: 15_000 });
  const before = page.complaints.length;
  await page.context().setOffline(true);
  await page.waitForSelector("#clicks-state[data-state=retrying]");
  expect("it says that it is offline, and when it tries again", (await page.textContent("#clicks-notice")).includes("offline") && /Again in \d+ s/.test(await page.textContent("#clicks-state")));
  await page.context().setOffline(false);
  await page.waitForSelector("#clicks-state[data-state=live]", { timeout: 10_000 });
  expect("it follows again at once when the device is back", true);
  page.complaints.splice(before, Infinity, ...page.complaints.slice(before).filter((text) => !text.includes("ERR_INTERNET_DISCONNECTED")));
}

// madeAgain has a link under the code of one that was deleted.
async function madeAgain(page, system, target) {
  await system.linktrail("links", "delete", "go-blog");
  await page.fill("#shorten-url", `${target}?again`);
  await page.fill("#shorten-slug", "go-blog");
  await page.click("#shorten-submit");
  const item = page.locator("#links li", { hasText: "/go-blog" });
  await item.filter({ hasText: "?again" }).waitFor({ timeout: 10_000 }).catch(() => {});
  expect("a link that is made again under its old code is shown as it is", await item.count() === 1 && (await item.textContent()).includes("?again"), await item.allTextContents());
}

// desktop is everything, in light colours.
async function desktop(browser, system, target) {
  // Without "Headless", which makes it a bot.
  const userAgent = `Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/${browser.version()} Safari/537.36`;
  const page = await open(browser, { viewport: { width: 1280, height: 820 }, colorScheme: "light", userAgent });
  await page.goto(system.console);
  await page.waitForSelector("#clicks-rows li");
  const address = await aLink(page, target);
  const click = await aClick(page, system);
  await itsTrace(page, system, click);
  expect("axe: the desk", (await findings(page)).length === 0, await findings(page));
  const reached = await stops(page);
  const names = reached.map(({ name }) => name);
  expect("Tab reaches everything", ["forget", "shorten-url", "shorten-slug", "shorten-submit", "made-open", "clicks-pause"].every((id) => names.includes(id)) &&
    names.some((name) => name.includes(click.trace_id.slice(0, 8))), names);
  expect("and shows where it is", reached.every(({ seen }) => seen), reached.filter(({ seen }) => !seen));
  await unsampled(page, address);
  await unseen(page);
  await interruptions(page, address);
  await strangers(page, address);
  await madeAgain(page, system, target);
  expect("no complaints on a desktop", page.complaints.length === 0, page.complaints);
  await page.context().close();
}

// phone is a narrow screen in dark colours, for somebody who wants nothing to move.
async function phone(browser, system) {
  const page = await open(browser, { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true, colorScheme: "dark", reducedMotion: "reduce" });
  await page.goto(system.api);
  expect("no sideways scrolling on a phone: the key", await overflow(page) <= 0, await overflow(page));
  await page.goto(system.console);
  await page.waitForSelector("#clicks-rows li");
  expect("the scheme is dark", await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor) === "rgb(19, 21, 25)");
  expect("nothing moves", await page.evaluate(() => document.getAnimations().length) === 0);
  expect("no sideways scrolling on a phone: the desk", await overflow(page) <= 0, await overflow(page));
  expect("axe: the desk, dark and narrow", (await findings(page)).length === 0, await findings(page));
  const opened = page.locator("#clicks-rows button", { hasText: "/hello" }).last();
  await opened.click();
  await whole(page);
  await picture(page, "phone");
  expect("no sideways scrolling on a phone: a trace", await overflow(page) <= 0, await overflow(page));
  for (const summary of await page.locator("#trace summary").all()) await summary.click();
  expect("no sideways scrolling on a phone: a trace with all attributes", await overflow(page) <= 0, await overflow(page));
  expect("axe: a trace, dark and narrow", (await findings(page)).length === 0, await findings(page));
  expect("no complaints on a phone", page.complaints.length === 0, page.complaints);
  await page.context().close();
}

// pictures are for the README: links and visitors as there might be.
async function pictures(browser, system) {
  const page = await open(browser, { viewport: { width: 1280, height: 800 }, colorScheme: "light" });
  await page.goto(system.console);
  await page.waitForSelector("#clicks-rows li");
  for (const [slug, url, title] of [["k8s-gateway", "https://gateway-api.sigs.k8s.io/", "Gateway API"], ["w3c-trace", "https://www.w3.org/TR/trace-context/", "Trace Context"]]) {
    await page.fill("#shorten-url", url);
    await page.fill("#shorten-slug", slug);
    await page.evaluate(() => { document.getElementById("shorten-more").open = true; });
    await page.fill("#shorten-title-field", title);
    await page.click("#shorten-submit");
    await page.locator("#made", { hasText: slug }).waitFor();
  }
  const traces = [];
  for (const [i, visitor] of visitors.entries()) traces.push(await visit(`${system.door}/${i % 2 ? "w3c-trace" : "k8s-gateway"}`, visitor));
  await row(page, traces.at(-1)).waitFor({ timeout: 15_000 });
  await page.locator("#links li", { hasText: "2 clicks" }).nth(1).waitFor({ timeout: 10_000 });
  await picture(page, "clicks");
  await row(page, traces[0]).click();
  await whole(page);
  await page.setViewportSize({ width: 1280, height: 750 });
  await page.waitForTimeout(200);
  await picture(page, "trace");
  await page.context().close();
}

const system = await start();
try {
  const target = await landing();
  const browser = await launch();
  try {
    if (screenshots) await pictures(browser, system);
    await theKey(browser, system);
    await desktop(browser, system, target.address);
    await phone(browser, system);
  } finally {
    await browser.close();
    await target.stop();
  }
} finally {
  await system.stop();
}
for (const text of wrong) console.log(`\nWRONG ${text}`);
console.log(wrong.length ? `\n${wrong.length} wrong` : "\nall is as it should be");
process.exitCode = wrong.length ? 1 : 0;
