// The console: a key first, then a form, the newest links, the clicks as they come, and the trace of each.

import { Api } from "./console/api.js";
import { Clicks } from "./console/clicks.js";
import { byId } from "./console/dom.js";
import * as key from "./console/key.js";
import { Links } from "./console/links.js";
import { Shorten } from "./console/shorten.js";
import { TraceDialog } from "./console/trace.js";

let parts = []; // what is open for the key

// enter opens the console with a key.
function enter(token) {
  leave();
  key.store(token);
  const api = new Api(token);
  const refused = () => ask("This key was refused: it is mistyped, or was revoked.");
  const trace = new TraceDialog(api, { refused });
  const links = new Links(api, { refused });
  const clicks = new Clicks(api, {
    refused,
    open: (click) => trace.open(click),
    came: (came) => links.clicked(new Set(came.map((click) => click.code))),
  });
  const shorten = new Shorten(api, { refused, made: () => links.load() });
  parts = [trace, links, clicks, shorten];
  byId("holder-key").textContent = key.shown(token);
  byId("gate").hidden = true;
  byId("holder").hidden = byId("desk").hidden = false;
}

function leave() {
  const ending = parts;
  parts = [];
  for (const part of ending) part.end();
}

// ask shows the form for the key, with what was wrong with the one before.
function ask(message) {
  leave();
  key.store("");
  byId("holder").hidden = byId("desk").hidden = true;
  byId("gate").hidden = false;
  refuse(message);
}

function refuse(message) {
  const input = byId("gate-key");
  byId("gate-error").textContent = message;
  if (message) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  input.focus();
}

function start() {
  const brought = key.fromFragment();
  if (brought && !key.looksRight(brought)) return ask("The address brought a text along that is no API key.");
  const token = brought || key.stored();
  if (token) enter(token);
  else ask("");
}

byId("gate-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = byId("gate-key");
  const token = input.value.trim();
  if (!key.looksRight(token)) return refuse("That is no API key: one begins with lt_ and has 59 characters.");
  input.value = "";
  refuse("");
  enter(token);
  byId("shorten-url").focus();
});

byId("forget").addEventListener("click", () => ask(""));

// The address with a key may be opened in a tab that shows the console already.
window.addEventListener("hashchange", () => {
  if (location.hash) start();
});

start();
