// The shows that a seller is about: those that it made, and those that it lists tickets for.
import { getAll } from "./api.js";
import { LiveRows } from "./live_rows.js";
import { Observable } from "./observable.js";
import { listen } from "./push.js";
import { Reading } from "./reading.js";

export class SellersShows {
  shows = new LiveRows();
  problem = new Observable(null);
  #reading = new Reading();

  open() {
    this.#reading.open();
    this.again();
    const stop = listen("shows", { message: this.#message, reread: this.read });
    return () => {
      stop();
      this.#reading.close();
    };
  }

  again = () => this.read().catch(() => undefined);

  read = async () => {
    try {
      const found = await this.#reading.latest((signal) => sellersShows(signal));
      if (!found) return;
      this.shows.replace(found);
      this.problem.set(null);
    } catch (fault) {
      this.problem.set(fault);
      throw fault;
    }
  };

  #message = (_event, data) => {
    if (data?.show) this.shows.applyKnown(data.show);
  };
}

/** By date, each once. */
async function sellersShows(signal) {
  const lists = await Promise.all([
    getAll("/api/shows?owner=me", { signal }),
    getAll("/api/shows?seller=me", { signal }),
  ]);
  const byId = new Map(lists.flat().map((show) => [show.id, show]));
  return [...byId.values()].sort((one, other) => (one.starts_at < other.starts_at ? -1 : 1));
}
