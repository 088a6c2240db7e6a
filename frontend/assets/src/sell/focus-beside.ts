// The focus when the row that has it goes.
import { focusText } from "../shared/ui/page-focus";

/** Focus the button of the next row of the list, else of the one before, else the heading. */
export function focusBeside(row: Element): void {
  const list = row.closest(".my-tickets");
  const rows = [...(list?.querySelectorAll("[data-ticket]") ?? [])];
  const at = rows.indexOf(row);
  const near = [...rows.slice(at + 1), ...rows.slice(0, at).reverse()];
  const button = near.map((each) => each.querySelector("button")).find(Boolean);
  const heading = list?.querySelector("h2");
  if (button) button.focus();
  else if (heading) focusText(heading);
}
