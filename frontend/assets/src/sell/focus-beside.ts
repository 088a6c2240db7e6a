// The focus when the row that has it goes: by a reply, or by a message that comes before the reply.
import { type FocusEvent, type RefObject, useLayoutEffect, useRef } from "react";

import { focusText } from "../shared/ui/page-focus";

interface FocusProps {
  onFocus: () => void;
  onBlur: (event: FocusEvent) => void;
}

/**
 * Focus the row's button in its new list if the ticket moved to one; else the button of the next
 * row, else of the row before, else the heading. Returns the handlers of the row.
 */
export function useFocusBeside(row: RefObject<HTMLElement | null>): FocusProps {
  const focused = useRef(false);
  useLayoutEffect(() => {
    const shown = row.current;
    // React calls this before it removes the row.
    return () => {
      if (shown && focused.current && isFree(shown)) focusAfterRemoval(shown);
    };
  }, [row]);
  return {
    onFocus: () => {
      focused.current = true;
    },
    onBlur: ({ currentTarget, relatedTarget }) => {
      // A button that is disabled while its request runs loses the focus to no other element.
      if (relatedTarget && !currentTarget.contains(relatedTarget)) focused.current = false;
    },
  };
}

/** Whether no element outside the row has the focus. */
function isFree(row: Element): boolean {
  const { activeElement, body } = document;
  return !activeElement || activeElement === body || row.contains(activeElement);
}

function focusAfterRemoval(row: HTMLElement): void {
  const list = row.closest(".my-tickets");
  if (!list) return;
  const rows = [...list.querySelectorAll<HTMLElement>("[data-ticket]")];
  const at = rows.indexOf(row);
  const near = [row, ...rows.slice(at + 1), ...rows.slice(0, at).reverse()];
  queueMicrotask(() => {
    // The visitor has left the page.
    if (!list.isConnected) return;
    const left = new Map(
      [...list.querySelectorAll<HTMLElement>("[data-ticket]")].map((each) => [idOf(each), each]),
    );
    const button = near.map((each) => left.get(idOf(each))?.querySelector("button")).find(Boolean);
    const heading = list.querySelector("h2");
    if (button) button.focus();
    else if (heading) focusText(heading);
  });
}

const idOf = (row: HTMLElement) => row.dataset.ticket;
