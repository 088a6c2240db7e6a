// One show and its tickets: read from the API, kept live by the channel `show-{id}`.
import { get, getAll } from "./api.js";
import { heardOf } from "./clock.js";
import { Feed } from "./feed.js";
import { LiveRows } from "./live_rows.js";
import { Observable } from "./observable.js";
import { listen } from "./push.js";

export class ShowFeed extends Feed {
  show = new Observable(null);
  tickets = new LiveRows();
  looking = new Observable(null);
  /** Called with each ticket that a message changed, and with what it was. */
  onChange = null;

  constructor(id) {
    super();
    this.id = id;
  }

  listen() {
    return listen(`show-${this.id}`, { message: this.#message, reread: this.read });
  }

  read = () => {
    const began = this.tickets.mark();
    const sentAt = performance.now();
    return this.take(
      (signal) =>
        Promise.all([
          get(`/api/shows/${this.id}`, { signal }),
          getAll(`/api/tickets?show_id=${this.id}&sort=oldest`, { signal }),
        ]),
      ([show, tickets]) => {
        heardOf(tickets, sentAt);
        this.show.set(show);
        this.tickets.replace(tickets, began);
      },
    );
  };

  #message = (event, data) => {
    if (event === "pusher:subscription_count") this.looking.set(data.subscription_count);
    else if (data?.ticket) {
      const before = this.tickets.apply(data.ticket);
      if (before !== undefined) this.onChange?.(data.ticket, before);
    }
  };
}
