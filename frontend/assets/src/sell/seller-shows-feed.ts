// The shows of a seller: those that the seller added, and those that the seller has tickets of.
// The channel `shows` keeps their counts live.
import { getAll } from "../shared/api";
import type { Show } from "../shared/api-types";
import { Feed } from "../shared/feed";
import { LiveRows } from "../shared/live-rows";
import { subscribe } from "../shared/push";
import type { PushMessage } from "../shared/push-messages";

export class SellerShowsFeed extends Feed {
  readonly shows = new LiveRows<Show>();

  protected override subscribe() {
    return subscribe("shows", { onMessage: this.#onMessage, read: this.read });
  }

  read = (): Promise<void> =>
    this.load(fetchShows, (shows) => {
      this.shows.replace(shows);
    });

  #onMessage = ({ data }: PushMessage): void => {
    if (data.show) this.shows.applyKnown(data.show);
  };
}

/** By date, each once. */
async function fetchShows(signal: AbortSignal): Promise<Show[]> {
  const lists = await Promise.all([
    getAll("/api/shows", { query: { owner: "me" }, signal }),
    getAll("/api/shows", { query: { seller: "me" }, signal }),
  ]);
  const byId = new Map(lists.flat().map((show) => [show.id, show]));
  return [...byId.values()].sort((a, b) => (a.starts_at < b.starts_at ? -1 : 1));
}
