// The checkbox of a section: it selects all of its free tickets.
import type { Ticket } from "../shared/api-types";
import { text } from "../shared/texts";
import { availabilityOf } from "../shared/tickets";
import type { Selection } from "./selection";

interface SelectSectionProps {
  name: string;
  tickets: readonly Ticket[];
  selection: Selection;
}

export function SelectSection({ name, tickets, selection }: SelectSectionProps) {
  if (!selection.isOpen) return null;
  const free = tickets.filter((ticket) => availabilityOf(ticket) === "free");
  const all = free.length > 0 && free.every(({ id }) => selection.isSelected(id));
  return (
    <label className="select-section">
      <input
        type="checkbox"
        checked={all}
        disabled={free.length === 0}
        aria-label={text("sell.bulk_select_section", { name })}
        onChange={(event) => {
          selection.select(
            free.map(({ id }) => id),
            event.target.checked,
          );
        }}
      />
      {text("sell.bulk_select_all")}
    </label>
  );
}
