// One show and tickets of it, kept live by the channel `show-{id}`. A subclass defines which of the
// tickets it reads: a show can have more than a page can show.
import type { Show, Ticket } from "./api-types";
import { serverNow } from "./clock";
import { Feed } from "./feed";
import { LiveRows } from "./live-rows";
import { Observable } from "./observable";
import { subscribe } from "./push";
import { type PushMessage, type TicketMessage, VIEWERS } from "./push-messages";

type ChangeListener = (ticket: Ticket) => void;

/** The most that the API returns in a page. */
export const MAX_PAGE_SIZE = 500;

export abstract class ShowFeed extends Feed {
  readonly id: string;
  readonly show = new Observable<Show | null>(null);
  readonly tickets = new LiveRows<Ticket>();
  /** How many people have this show's page open; null until the gateway has counted them. */
  readonly viewers = new Observable<number | null>(null);
  readonly #listeners = new Set<ChangeListener>();

  constructor(id: string) {
    super();
    this.id = id;
  }

  protected override subscribe() {
    return subscribe(`show-${this.id}`, { onMessage: this.#onMessage, read: this.read });
  }

  /** Apply a ticket of a message. Returns whether it changed a row. */
  protected abstract onTicket(ticket: Ticket): boolean;

  /**
   * Calls `listener` with each ticket that a message changed. Returns the function that stops it.
   */
  onTicketChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  #onMessage = ({ event, data }: PushMessage): void => {
    if (event === VIEWERS) this.viewers.set(data.count ?? null);
    // The message has the show's row, which lacks the counts and the effective status.
    if (event === "show.updated") void this.refresh();
    if (!data.ticket) return;
    const ticket = ticketOf(data.ticket);
    if (!this.onTicket(ticket)) return;
    for (const listener of this.#listeners) listener(ticket);
  };
}

/** A message is sent the moment the ticket changed. */
export function ticketOf(message: TicketMessage): Ticket {
  return { ...message, updated_at: new Date(serverNow()).toISOString() };
}
