// Shortcuts of a single key.
import { useEffect, useEffectEvent } from "react";

/**
 * Calls `action` when the key is pressed alone, but not in an element that takes text. With
 * `within`, a CSS selector, only while such an element contains the focus.
 */
export function useKey(key: string, action: () => void, within = "*"): void {
  const act = useEffectEvent(action);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key.toUpperCase() !== key.toUpperCase()) return;
      if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
      if (event.defaultPrevented || !(event.target instanceof HTMLElement)) return;
      if (takesText(event.target) || !event.target.closest(within)) return;
      event.preventDefault();
      act();
    };
    document.addEventListener("keydown", onKeyDown);
    return () => {
      document.removeEventListener("keydown", onKeyDown);
    };
  }, [key, within]);
}

const WITHOUT_TEXT = new Set(["radio", "checkbox", "button", "submit", "range"]);

function takesText(target: HTMLElement): boolean {
  if (target instanceof HTMLInputElement) return !WITHOUT_TEXT.has(target.type);
  return target.isContentEditable || target.matches("textarea, select");
}
