// The shows that a seller is about: those that it made, and those that it lists tickets for.
import { getAll } from "./api.js";
import { Feed } from "./feed.js";
import { LiveRows } from "./live_rows.js";
import { listen } from "./push.js";

export class SellersShows extends Feed {
  shows = new LiveRows();

  listen() {
    return listen("shows", { message: this.#message, reread: this.read });
  }

  read = () => this.take(sellersShows, (found) => this.shows.replace(found));

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
