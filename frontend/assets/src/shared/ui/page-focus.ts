// Where the keyboard and a screen reader are after a change of the page. The browser does this
// when it loads a page; for a change without a load, the shop does.
import { useEffect } from "react";
import { useLocation, useNavigationType } from "react-router";

/** The heading may have to wait for its data. */
const WAIT_MS = 10_000;

/** The page that is shown. Each page has a component of its own, so no state outlives a change. */
let shown: string | null = null;

/**
 * Moves the focus to the heading of the page when another page is opened, and scrolls to its start.
 * The browser itself restores the place of a page in the history.
 */
export function usePageFocus(): void {
  const { pathname, search } = useLocation();
  // A seller's show is a page, although the address names it as a parameter.
  const type: string = useNavigationType();
  const page = `${pathname}?${new URLSearchParams(search).get("show") ?? ""}`;
  useEffect(() => {
    const opened = shown !== null && shown !== page;
    shown = page;
    if (!opened) return undefined;
    if (type !== "POP") scrollTo(0, 0);
    return focusHeading();
  }, [page, type]);
}

/** Returns the function that stops waiting for the heading. */
function focusHeading(): () => void {
  const main = contentOf(document);
  if (!main) return () => undefined;
  // Until then, the next Tab leads to the first element of the page.
  main.focus({ preventScroll: true });
  const stop = () => {
    observer.disconnect();
    clearTimeout(timer);
  };
  const observer = new MutationObserver(() => {
    if (focusHeadingOf(main)) stop();
  });
  const timer = setTimeout(stop, WAIT_MS);
  if (focusHeadingOf(main)) stop();
  else observer.observe(main, { childList: true, subtree: true, attributes: true });
  return stop;
}

/** Returns whether there is nothing left to do: the user may have moved the focus meanwhile. */
function focusHeadingOf(main: HTMLElement): boolean {
  const { activeElement } = document;
  if (activeElement !== main && activeElement !== document.body) return true;
  const heading = main.querySelector<HTMLElement>("h1") ?? main.querySelector<HTMLElement>("h2");
  if (!heading || heading.closest("[aria-busy=true]") || main.querySelector("[aria-busy=true] h1"))
    return false;
  focusText(heading, { preventScroll: true });
  return true;
}

/** Focus an element that is no control, such as a heading. */
export function focusText(element: HTMLElement, options?: FocusOptions): void {
  if (!element.hasAttribute("tabindex")) element.tabIndex = -1;
  element.focus(options);
}

export function contentOf(root: Document): HTMLElement | null {
  return root.getElementById("content");
}
