// The proposals for the visitor's number of tickets and filters. When another buyer takes a ticket
// of the chosen one, the next proposal replaces it, and the pick has a notice with both.
import { useCallback, useEffect, useEffectEvent, useMemo, useState } from "react";

import type { Ticket } from "../shared/api-types";
import { keep, recall } from "../shared/browser-storage";
import { fullName, money } from "../shared/format";
import { useValue } from "../shared/observable";
import { text } from "../shared/texts";
import { isListed, isOffered } from "../shared/tickets";
import { toast } from "../shared/ui/toasts";
import type { BuyerFeed } from "./buyer-feed";
import { proposalName } from "./chooser";
import { type Proposal, proposalsOf } from "./choosing";
import type { Selection } from "./selection";
import { isWanted, NO_FILTER, type TicketFilter } from "./ticket-filters";
import type { OwnHolds } from "./use-own-holds";

/** After this time, useOwnHolds has the visitor's holds that were made in another tab. */
const OWN_HOLD_MS = 800;

export interface Proposals {
  filter: TicketFilter;
  setFilter: (filter: TicketFilter) => void;
  /** Null while the visitor has not chosen how many. */
  quantity: number | null;
  setQuantity: (quantity: number | null) => void;
  found: readonly Proposal[];
  /** Replace the chosen proposal, of which another buyer has this ticket. */
  replaceLost: (lost: Ticket) => void;
}

export function useProposals(
  feed: BuyerFeed,
  selection: Selection,
  holds: OwnHolds,
  userId: string | undefined,
): Proposals {
  const name = `gittix:quantity:${feed.id}`;
  const [filter, setFilter] = useState(NO_FILTER);
  const [quantity, setQuantity] = useState(() => recalledQuantity(name));
  const { rows } = useValue(feed.tickets);
  const found = useMemo(
    () =>
      quantity === null
        ? []
        : proposalsOf(rows, { quantity, userId, isWanted: (each) => isWanted(each, filter) }),
    [rows, quantity, userId, filter],
  );
  // Of a large show, the seats beside the proposed ones are read too.
  useEffect(() => {
    for (const { tickets } of found) void feed.readAround(tickets[0]?.section ?? "");
  }, [feed, found]);
  const replaceLost = useCallback(
    (lost: Ticket) => {
      const count = selection.proposed.value;
      if (count === null) return;
      const others = feed.tickets.value.rows.filter(({ id }) => id !== lost.id);
      const wanted = {
        quantity: count,
        userId,
        isWanted: (each: Ticket) => isWanted(each, filter),
      };
      const [next] = proposalsOf(others, wanted);
      selection.lost.set(null);
      selection.choose(
        next?.tickets.map(({ id }) => id) ?? [],
        next
          ? text("show.replaced", {
              name: fullName(lost),
              next: proposalName(next),
              price: money(next.total, next.currency),
            })
          : text("show.not_replaced", { name: fullName(lost), count }),
      );
    },
    [feed, selection, userId, filter],
  );
  useLostTickets(feed, selection, holds, replaceLost);
  return {
    filter,
    setFilter,
    quantity,
    setQuantity: (next) => {
      keep(name, next);
      setQuantity(next);
    },
    found,
    replaceLost,
  };
}

function recalledQuantity(name: string): number | null {
  const quantity = recall(name);
  return typeof quantity === "number" ? quantity : null;
}

/**
 * A ticket that another buyer held, or that is no longer on sale, leaves the selection, with a
 * notice. A proposal with it is replaced. Until it is known whose hold it is, nothing can be held.
 */
function useLostTickets(
  feed: BuyerFeed,
  selection: Selection,
  holds: OwnHolds,
  replaceLost: (lost: Ticket) => void,
): void {
  const settle = useEffectEvent((ticket: Ticket) => {
    const own = holds.has(ticket.id);
    if (selection.lost.value?.id === ticket.id) {
      selection.lost.set(null);
      if (own) selection.toggle(ticket.id);
      else replaceLost(ticket);
      return;
    }
    if (own) return;
    toast(
      isListed(ticket)
        ? text("show.faster", { name: fullName(ticket) })
        : text("show.not_on_sale", { name: fullName(ticket) }),
    );
  });
  useEffect(() => {
    const timers = new Set<ReturnType<typeof setTimeout>>();
    const stop = feed.onTicketChange((ticket) => {
      if (!selection.has(ticket.id) || selection.holding.value) return;
      if (isOffered(ticket)) return;
      if (selection.proposed.value === null) selection.toggle(ticket.id);
      else if (selection.lost.value === null) selection.lost.set(ticket);
      else return;
      timers.add(
        setTimeout(() => {
          settle(ticket);
        }, OWN_HOLD_MS),
      );
    });
    return () => {
      stop();
      timers.forEach(clearTimeout);
    };
  }, [feed, selection]);
}
