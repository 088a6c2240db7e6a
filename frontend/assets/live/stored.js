// What this browser keeps for the shop: for the tab, or `lasting` until it is cleared. Storage may be switched off; then
// nothing is kept, and nothing breaks.

/** What was kept under a name, or null. */
export function recall(name, options) {
  try {
    return JSON.parse(placeOf(options).getItem(name));
  } catch {
    return null;
  }
}

export function keep(name, value, options) {
  try {
    placeOf(options).setItem(name, JSON.stringify(value));
  } catch {
    // Switched off or full.
  }
}

export function forget(name, options) {
  try {
    placeOf(options).removeItem(name);
  } catch {
    // Nothing was kept.
  }
}

function placeOf({ lasting = false } = {}) {
  return lasting ? localStorage : sessionStorage;
}
