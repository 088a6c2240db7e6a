// One show and its tickets: read from the API, kept live by the channel `show-{id}`.
import { get, getAll } from "./api";
import type { Show, Ticket } from "./api-types";
import { learnTimeFromHold, serverNow } from "./clock";
import { Feed } from "./feed";
import { type Live, LiveRows } from "./live-rows";
import { Observable } from "./observable";
import { subscribe } from "./push";
import { type PushMessage, type TicketMessage, VIEWERS } from "./push-messages";

type ChangeListener = (ticket: Ticket) => void;

export class ShowFeed extends Feed {
  readonly id: string;
  readonly show = new Observable<Show | null>(null);
  readonly tickets = new LiveRows<Ticket>();
  /** How many people have this show's page open; null until the gateway has counted them. */
  readonly viewers = new Observable<number | null>(null);
  readonly #listeners = new Set<ChangeListener>();
  readonly #hidden: boolean;

  /** `hidden`: with the hidden tickets that the signed-in user may see. */
  constructor(id: string, { hidden = false } = {}) {
    super();
    this.id = id;
    this.#hidden = hidden;
  }

  protected override subscribe() {
    return subscribe(`show-${this.id}`, { onMessage: this.#onMessage, read: this.read });
  }

  /**
   * Calls `listener` with each ticket that a message changed. Returns the function that stops it.
   */
  onTicketChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  read = (): Promise<void> => {
    const before = this.tickets.snapshot();
    const sentAt = performance.now();
    return this.load(
      (signal) =>
        Promise.all([
          get("/api/shows/{id}", { params: { id: this.id }, signal }),
          this.#readTickets(false, signal),
          this.#hidden ? this.#readTickets(true, signal) : [],
        ]),
      ([show, listed, hidden]) => {
        const tickets = [...listed, ...hidden];
        learnTimeFromHold(tickets, sentAt);
        this.show.set(show);
        this.tickets.replace(tickets, before);
      },
    );
  };

  #readTickets(hidden: boolean, signal: AbortSignal): Promise<Ticket[]> {
    const query = { show_id: this.id, hidden, sort: "oldest" } as const;
    return getAll("/api/tickets", { query, signal });
  }

  #onMessage = ({ event, data }: PushMessage): void => {
    if (event === VIEWERS) this.viewers.set(data.count ?? null);
    if (!data.ticket) return;
    const ticket = ticketOf(data.ticket);
    const before: Live<Ticket> | null | undefined = this.tickets.apply(ticket);
    if (before === undefined) return;
    for (const listener of this.#listeners) listener(ticket);
  };
}

/** A message is sent the moment the ticket changed. */
export function ticketOf(message: TicketMessage): Ticket {
  return { ...message, updated_at: new Date(serverNow()).toISOString() };
}
