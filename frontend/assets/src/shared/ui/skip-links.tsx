// The links at the start of each page that lead past its header, and past long lists. They change
// no address: a fragment in it would be a step of the history.
import type { MouseEvent } from "react";

import { useValue } from "../observable";
import { skipTargets } from "../skip-targets";
import { text } from "../texts";
import { focusText, usePageFocus } from "./page-focus";

export function SkipLinks() {
  usePageFocus();
  const targets = useValue(skipTargets);
  const links = [{ id: "content", label: text("shared.skip_to_content") }, ...targets];
  return (
    <div className="skip-links">
      {links.map(({ id, label }) => (
        <a
          className="skip"
          key={id}
          href={`#${id}`}
          onClick={(event) => {
            lead(event, id);
          }}
        >
          {label}
        </a>
      ))}
    </div>
  );
}

function lead(event: MouseEvent, id: string): void {
  const target = document.getElementById(id);
  if (!target) return;
  event.preventDefault();
  focusText(target);
}
