// The tickets that a seller selects to change at once. Only free ones can be selected: one that a
// buyer takes meanwhile leaves the selection.
import { useCallback, useMemo, useState } from "react";

import type { Ticket } from "../shared/api-types";
import { availabilityOf } from "../shared/tickets";

export interface Selection<T extends Ticket = Ticket> {
  /** Whether the page shows checkboxes. */
  isOpen: boolean;
  /** Those that can be selected. */
  free: readonly T[];
  selected: readonly T[];
  isSelected: (id: string) => boolean;
  setOpen: (isOpen: boolean) => void;
  select: (ids: readonly string[], isSelected: boolean) => void;
}

export function useSelection<T extends Ticket>(tickets: readonly T[]): Selection<T> {
  const [isOpen, setIsOpen] = useState(false);
  const [ids, setIds] = useState<ReadonlySet<string>>(new Set());
  const free = tickets.filter((ticket) => availabilityOf(ticket) === "free");
  const select = useCallback((changed: readonly string[], isSelected: boolean) => {
    setIds((before) => {
      const after = new Set(before);
      for (const id of changed) {
        if (isSelected) after.add(id);
        else after.delete(id);
      }
      return after;
    });
  }, []);
  const setOpen = useCallback((opens: boolean) => {
    setIsOpen(opens);
    if (!opens) setIds(new Set());
  }, []);
  const isSelected = useMemo(() => (id: string) => ids.has(id), [ids]);
  const selected = isOpen ? free.filter(({ id }) => ids.has(id)) : [];
  return { isOpen, free, selected, isSelected, setOpen, select };
}
