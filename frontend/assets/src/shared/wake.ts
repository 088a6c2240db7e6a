// The moments from which a page may be out of date: the device slept, the page was frozen, restored
// from the back/forward cache or hidden, or the network came back.
import { sleeps } from "./clock";

const HIDDEN_MS = 5000;

/**
 * After "restored" and "online" the page's connections are gone, even if they seem open. After
 * "resumed" (also of a page that was hidden) and "slept" they may be.
 */
export type Wake = "restored" | "online" | "resumed" | "slept";

export function watchWakes(onWake: (wake: Wake) => void): void {
  const wakes = (wake: Wake) => () => {
    onWake(wake);
  };
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) onWake("restored");
  });
  addEventListener("online", wakes("online"));
  document.addEventListener("resume", wakes("resumed"));
  sleeps.watch(wakes("slept"));
  let hiddenAt = Date.now();
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") hiddenAt = Date.now();
    else if (Date.now() - hiddenAt >= HIDDEN_MS) onWake("resumed");
  });
}
