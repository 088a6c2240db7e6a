// Some tickets by their ids: read from the API, each kept live by the channel `ticket-{id}`.
import { get } from "../shared/api";
import type { Ticket } from "../shared/api-types";
import { Feed } from "../shared/feed";
import { LiveRows } from "../shared/live-rows";
import { subscribe } from "../shared/push";
import type { PushMessage } from "../shared/push-messages";
import { ticketOf } from "../shared/show-feed";

export class TicketsFeed extends Feed {
  readonly tickets = new LiveRows<Ticket>();
  readonly #ids: readonly string[];

  constructor(ids: readonly string[]) {
    super();
    this.#ids = ids;
  }

  protected override subscribe() {
    const subscriber = { onMessage: this.#onMessage, read: this.read };
    const stops = this.#ids.map((id) => subscribe(`ticket-${id}`, subscriber));
    return () => {
      for (const stop of stops) stop();
    };
  }

  read = (): Promise<void> => {
    const before = this.tickets.snapshot();
    return this.load(
      (signal) =>
        Promise.all(this.#ids.map((id) => get("/api/tickets/{id}", { params: { id }, signal }))),
      (tickets) => {
        this.tickets.replace(tickets, before);
      },
    );
  };

  #onMessage = ({ data }: PushMessage): void => {
    if (data.ticket) this.tickets.apply(ticketOf(data.ticket));
  };
}
