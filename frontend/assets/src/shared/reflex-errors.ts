// Reflex's runtime reports the errors of a page to its server, which this shop does not have.

/**
 * Keep Reflex from handling errors: its report of a rejected promise fails without a server, and
 * the failure is a rejected promise again. That loop takes a whole core until the page is left.
 * The browser's console still has each error.
 */
export function ignoreReflexErrorHandlers(): void {
  for (const name of ["onerror", "onunhandledrejection"] as const) {
    // The handler, if Reflex has set it already.
    window[name] = null;
    Object.defineProperty(window, name, { get: () => null, set: () => undefined });
  }
}
