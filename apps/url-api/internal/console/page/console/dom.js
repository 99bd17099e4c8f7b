// Building and filling elements. Whatever comes from outside becomes text here, never markup.

/** byId returns an element that the page must have. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * make returns a new element. A property that starts with "on" is a listener, "class" and "text" are what they say, and
 * any other an attribute; null, undefined and false leave it out. Children are elements or texts.
 */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** outward is a link to another page, which learns nothing of this one. An address that is not the web's is only text. */
export function outward(address, text, properties = {}) {
  if (!/^https?:\/\//i.test(address)) return make("span", { text });
  return make("a", { href: address, target: "_blank", rel: "noopener noreferrer", text, ...properties });
}

/** notice shows a message in its place, or hides that. */
export function notice(place, message) {
  if (place.textContent !== message) place.textContent = message;
  place.hidden = message === "";
}

/** copyButton is a button that puts text onto the clipboard and says so. */
export function copyButton(text, what) {
  const button = make("button", { type: "button", class: "quiet", "aria-label": `Copy ${what}`, text: "Copy" });
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text)) ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedOldWay(text); // there is no clipboard on a page without TLS that is not this machine's
  }
}

function copiedOldWay(text) {
  const before = document.activeElement;
  const area = make("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  (before?.closest("dialog") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  return done;
}
