// The shows that a query finds, as many pages as were requested. The channel `shows` keeps their
// counts live.
import { getPages } from "../shared/api";
import type { Show, Shows } from "../shared/api-types";
import { JITTER_MS } from "../shared/catch-up";
import { serverNow } from "../shared/clock";
import { Feed } from "../shared/feed";
import { LiveRows } from "../shared/live-rows";
import { Observable } from "../shared/observable";
import { subscribe } from "../shared/push";
import type { PushMessage } from "../shared/push-messages";

const PAGE_SIZE = 24;

/** Between the id of a show and its commit. */
const CREATION_MS = 5000;

/** A UUIDv7 begins with its time in milliseconds. */
const createdAt = (id: string) => Number.parseInt(id.replaceAll("-", "").slice(0, 12), 16);

export class ShowListFeed extends Feed {
  readonly shows = new LiveRows<Show>();
  /** The query that the shows are the result of; null before the first response. */
  readonly answered = new Observable<string | null>(null);
  readonly more = new Observable(false);
  /** Whether the shows have only words like the wanted ones; what to suggest instead of none. */
  readonly alike = new Observable(false);
  readonly suggestions = new Observable<Shows["suggestions"]>(null);
  #query: string | null = null;
  #pages = 1;
  /** The server's time before the last read. */
  #readAt = 0;
  #reading: ReturnType<typeof setTimeout> | null = null;

  override open(): () => void {
    const close = super.open();
    return () => {
      close();
      if (this.#reading !== null) clearTimeout(this.#reading);
      this.#reading = null;
      this.shows.settle();
    };
  }

  protected override subscribe() {
    return subscribe("shows", { onMessage: this.#onMessage, read: this.read });
  }

  /** Find other shows. Those of the earlier query stay until the response. */
  find(query: string): void {
    if (query === this.#query) return;
    this.#query = query;
    this.#pages = 1;
    this.problem.set(null);
    void this.refresh();
  }

  readMore = (): void => {
    this.#pages += 1;
    void this.refresh();
  };

  read = async (): Promise<void> => {
    const query = this.#query;
    if (query === null) return;
    const readAt = serverNow();
    const parameters = { ...Object.fromEntries(new URLSearchParams(query)), limit: PAGE_SIZE };
    await this.load(
      (signal) => getPages("/api/shows", { query: parameters, pages: this.#pages, signal }),
      ({ items, more, last }) => {
        this.shows.replace(items);
        this.#readAt = readAt;
        this.more.set(more);
        this.alike.set(last?.alike ?? false);
        this.suggestions.set(last?.suggestions ?? null);
        this.answered.set(query);
      },
    );
  };

  #onMessage = ({ data }: PushMessage): void => {
    if (!data.show) return;
    if (this.shows.row(data.show.id)) this.shows.applyKnown(data.show);
    else if (createdAt(data.show.id) > this.#readAt - CREATION_MS) this.#readSoon();
  };

  /** All open lists get the message of a new show at once, so each waits at random. */
  #readSoon(): void {
    this.#reading ??= setTimeout(() => {
      this.#reading = null;
      void this.refresh();
    }, Math.random() * JITTER_MS);
  }
}
