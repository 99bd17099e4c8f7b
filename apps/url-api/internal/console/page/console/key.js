// The API key of this tab. It is kept in the tab's session storage alone: never in a cookie, never in an address that
// stays, never for the next visit.

const place = "linktrail.key";
const form = /^lt_[0-9a-z]{12}_[0-9A-Za-z]{43}$/;

let unsaved = ""; // where the browser refuses to store anything

/** looksRight says whether a text has the form of a key. */
export function looksRight(text) { return form.test(text); }

/** stored returns this tab's key, or nothing. */
export function stored() {
  try {
    return sessionStorage.getItem(place) ?? unsaved;
  } catch {
    return unsaved;
  }
}

/** store keeps a key for this tab; an empty one forgets it. */
export function store(key) {
  unsaved = key;
  try {
    if (key) sessionStorage.setItem(place, key);
    else sessionStorage.removeItem(place);
  } catch {
    // unsaved has it
  }
}

/** shown is as much of a key as may be read over somebody's shoulder: its id. */
export function shown(key) { return key.split("_").slice(0, 2).join("_"); }

/**
 * fromFragment takes the key out of an address that ends in #key=…, and the fragment out of the address bar and the
 * history, whatever it holds. It returns nothing when there is none.
 */
export function fromFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (!fragment.has("key")) return "";
  history.replaceState(null, "", location.pathname + location.search);
  return fragment.get("key").trim();
}
