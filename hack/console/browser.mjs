// A browser whose pages complain: about what breaks the page's policy, about errors, and about what axe finds.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../bin/console/", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** launch starts Chromium. Root has no user namespaces for its sandbox. */
export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
}

/** open is a new page, in a context of its own, whose complaints are in page.complaints. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "UTC", ...options });
  const page = await context.newPage();
  page.complaints = [];
  await context.exposeBinding("complain", (source, text) => page.complaints.push(text));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      window.complain(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
  });
  page.on("pageerror", (error) => page.complaints.push(`error: ${error.stack}`));
  page.on("console", (message) => {
    // A trace that is not there yet is a 404, and a key without a scope a 403: the browser notes both, the page shows them.
    const expected = message.text().startsWith("Failed to load resource") && message.location().url.includes("/api/v1/");
    if (["error", "warning"].includes(message.type()) && !expected) page.complaints.push(`console: ${message.text()}`);
  });
  return page;
}

/** findings are what axe holds against the page as it is, from moderate on. */
export async function findings(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  return violations.filter(({ impact }) => impact !== "minor").flatMap(({ id, impact, nodes }) =>
    nodes.map((node) => `axe ${impact}: ${id}: ${node.html.slice(0, 160)}: ${node.failureSummary.replace(/\s+/g, " ")}`));
}

/** overflow is by how many pixels the page, or what is open in it, is wider than the screen. */
export function overflow(page) {
  return page.evaluate(() => {
    const places = [document.documentElement, ...document.querySelectorAll("dialog[open], dialog[open] .sheet")];
    return Math.max(...places.map((place) => place.scrollWidth - place.clientWidth));
  });
}

/** stops are what Tab reaches from the top of the page to its end, each with whether its focus can be seen. */
export async function stops(page, most = 60) {
  await page.focus(".brand"); // the first
  const found = [];
  for (let i = 0; i < most; i++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const at = document.activeElement;
      if (!at || at === document.body) return null;
      const style = getComputedStyle(at);
      return { name: at.id || at.textContent.trim(), seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
    });
    if (!stop) break; // the browser's own
    found.push(stop);
  }
  return found;
}
