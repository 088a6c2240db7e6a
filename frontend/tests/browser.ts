// Replacements of the browser's globals, for tests that run in Node.
import { vi } from "vitest";

/** Timers, dates, performance.now() and animation frames that a test moves forward. */
export function useFakeTime(now = "2026-11-30T12:00:00Z"): void {
  vi.useFakeTimers({ now: Date.parse(now) });
}

/** A document and a window that only have events, and storage that lasts for the test. */
export function stubBrowser(): {
  dispatch: (type: string) => void;
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
  vi.stubGlobal("document", Object.assign(new EventTarget(), { visibilityState: "visible" }));
  vi.stubGlobal("navigator", { onLine: true });
  return {
    dispatch: (type) => void target.dispatchEvent(new Event(type)),
    storage,
  };
}
