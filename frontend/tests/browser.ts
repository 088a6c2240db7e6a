// Replacements of the browser's globals, for tests that run in Node.
import { vi } from "vitest";

/** Timers, dates, performance.now() and animation frames that a test moves forward. */
export function useFakeTime(now = "2026-11-30T12:00:00Z"): void {
  vi.useFakeTimers({ now: Date.parse(now) });
}

/** A document and a window that only have events, and storage that lasts for the test. */
export function stubBrowser(): {
  /** Dispatch an event of the window. */
  dispatch: (type: string, members?: object) => void;
  /** Show or hide the page, freeze or resume it. */
  dispatchToDocument: (type: string, visibilityState?: "visible" | "hidden") => void;
  storage: Map<string, string>;
} {
  const target = new EventTarget();
  const storage = new Map<string, string>();
  const kept = {
    getItem: (name: string) => storage.get(name) ?? null,
    setItem: (name: string, value: string) => void storage.set(name, value),
    removeItem: (name: string) => void storage.delete(name),
  };
  vi.stubGlobal("localStorage", kept);
  vi.stubGlobal("sessionStorage", kept);
  vi.stubGlobal("addEventListener", target.addEventListener.bind(target));
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  vi.stubGlobal("document", document);
  vi.stubGlobal("navigator", { onLine: true });
  return {
    dispatch: (type, members) => void target.dispatchEvent(Object.assign(new Event(type), members)),
    dispatchToDocument: (type, visibilityState) => {
      if (visibilityState) document.visibilityState = visibilityState;
      document.dispatchEvent(new Event(type));
    },
    storage,
  };
}
