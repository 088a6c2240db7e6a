// One show and its tickets: read from the API, kept live by the channel `show-{id}`.
import { get, getAll } from "./api.js";
import { heardOf } from "./clock.js";
import { LiveRows } from "./live_rows.js";
import { Observable } from "./observable.js";
import { listen } from "./push.js";
import { Reading } from "./reading.js";

export class ShowFeed {
  show = new Observable(null);
  tickets = new LiveRows();
  looking = new Observable(null);
  problem = new Observable(null);
  /** Called with each ticket that a message changed, and with what it was. */
  onChange = null;
  #reading = new Reading();

  constructor(id) {
    this.id = id;
  }

  /** Read, and listen from then on. Returns the way to stop. */
  open() {
    this.#reading.open();
    this.again();
    const stop = listen(`show-${this.id}`, { message: this.#message, reread: this.read });
    return () => {
      stop();
      this.#reading.close();
    };
  }

  /** Read, and keep what went wrong for the page to show. */
  again = () => this.read().catch(() => undefined);

  read = async () => {
    const began = this.tickets.mark();
    const sentAt = performance.now();
    try {
      const found = await this.#reading.latest((signal) =>
        Promise.all([
          get(`/api/shows/${this.id}`, { signal }),
          getAll(`/api/tickets?show_id=${this.id}&sort=oldest`, { signal }),
        ]),
      );
      if (!found) return;
      const [show, tickets] = found;
      heardOf(tickets, sentAt);
      this.show.set(show);
      this.tickets.replace(tickets, began);
      this.problem.set(null);
    } catch (fault) {
      this.problem.set(fault);
      throw fault;
    }
  };

  #message = (event, data) => {
    if (event === "pusher:subscription_count") this.looking.set(data.subscription_count);
    else if (data?.ticket) {
      const before = this.tickets.apply(data.ticket);
      if (before !== undefined) this.onChange?.(data.ticket, before);
    }
  };
}
