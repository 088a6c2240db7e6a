// A seller's sales: read from the API, kept live by the seller's channel. A sale only moves
// forward, so its progress serves as its version, for messages and for reads alike.
import { get, getAll, getPages } from "../shared/api";
import type { OwnTicketCounts, Sale, SalesByShow, Show } from "../shared/api-types";
import { learnTimeFromHold, serverNow } from "../shared/clock";
import { Feed } from "../shared/feed";
import { LatestRead } from "../shared/latest-read";
import { LiveRows } from "../shared/live-rows";
import { Observable } from "../shared/observable";
import { subscribe } from "../shared/push";
import type { PushMessage, SaleMessage } from "../shared/push-messages";
import { readersZone } from "../shared/time-zones";
import { type DeskFilter, startOf } from "./periods";
import type { FilteredSummary } from "./sums";

const PAGE_SIZE = 50;
/** The summary is read once in this time at most, however many messages arrive. */
const SUMMARY_MS = 700;
/** So are the counts of tickets, of which a seller may have many. */
const COUNTS_MS = 3000;
const NO_COUNTS: OwnTicketCounts = { items: [], is_complete: true };

type Status = Sale["status"];
/** A message lacks `created_at`, `seconds_left`, the order's number, the fee and
 *  `refund_pending`. */
export type SaleRow = SaleMembers & { id: string; version: number };

const STATUS_OF_EVENT: Partial<Record<string, Status>> = {
  "sale.held": "held",
  "sale.extended": "held",
  "sale.released": "released",
  "sale.sold": "sold",
  "sale.refunded": "refunded",
};

export class SalesFeed extends Feed {
  readonly sales = new LiveRows<SaleRow>();
  readonly summary = new Observable<FilteredSummary | null>(null);
  readonly byShow = new Observable<SalesByShow["items"]>([]);
  readonly counts = new Observable(NO_COUNTS);
  readonly shows = new Observable<ReadonlyMap<string, Show>>(new Map());
  readonly more = new Observable(false);
  readonly #sellerId: string;
  readonly #summaryRead = new LatestRead();
  readonly #countsRead = new LatestRead();
  readonly #onStatus: (status: Status) => void;
  #filter: DeskFilter;
  #pages = 1;
  #summaryTimer: ReturnType<typeof setTimeout> | null = null;
  #summaryAt = -SUMMARY_MS;
  #countsTimer: ReturnType<typeof setTimeout> | null = null;
  #readingShows = false;

  /** `onStatus` is called with the new status of each sale that a message changed. */
  constructor(sellerId: string, filter: DeskFilter, onStatus: (status: Status) => void) {
    super();
    this.#sellerId = sellerId;
    this.#filter = filter;
    this.#onStatus = onStatus;
  }

  override open(): () => void {
    this.#summaryRead.open();
    this.#countsRead.open();
    const close = super.open();
    return () => {
      close();
      if (this.#summaryTimer !== null) clearTimeout(this.#summaryTimer);
      if (this.#countsTimer !== null) clearTimeout(this.#countsTimer);
      this.#summaryTimer = this.#countsTimer = null;
      this.#summaryRead.close();
      this.#countsRead.close();
    };
  }

  protected override subscribe() {
    const subscriber = { onMessage: this.#onMessage, read: this.read };
    return subscribe(`private-user-${this.#sellerId}`, subscriber);
  }

  readMore = (): void => {
    this.#pages += 1;
    void this.refresh();
  };

  /** Read the sales of another period or show. Throws when they cannot be read. */
  change(filter: DeskFilter): Promise<void> {
    this.#filter = filter;
    this.#pages = 1;
    return this.read();
  }

  /** The filters of the list and of the export. */
  get query() {
    const { period, showId } = this.#filter;
    return { show_id: showId, since: startOf(period, serverNow()) };
  }

  read = (): Promise<void> => {
    const before = this.sales.snapshot();
    const sentAt = performance.now();
    return this.load(
      async (signal) => {
        const [found] = await Promise.all([
          this.#fetchSales(signal),
          this.#readSummary(),
          this.#readCounts(),
        ]);
        return found;
      },
      ({ sales, more }) => {
        learnTimeFromHold(sales, sentAt);
        this.sales.replace(sales.map(rowOf), before);
        this.more.set(more);
        void this.#readShows();
      },
    );
  };

  /** The newest pages, and every sale that is held, however many came after it. */
  async #fetchSales(signal: AbortSignal): Promise<{ sales: Sale[]; more: boolean }> {
    const { query } = this;
    const [held, { items, more }] = await Promise.all([
      getAll("/api/sales", { query: { show_id: query.show_id, status: "held" }, signal }),
      getPages("/api/sales", { query: { ...query, limit: PAGE_SIZE }, pages: this.#pages, signal }),
    ]);
    const known = new Set(items.map(idOf));
    return { sales: [...items, ...held.filter((sale) => !known.has(idOf(sale)))], more };
  }

  /** The summary has as long a time before the period; the sales by show have none. */
  async #readSummary(): Promise<void> {
    const filter = this.#filter;
    const { days, by } = filter.period;
    const query = { by, timezone: readersZone() };
    const found = await this.#summaryRead.run((signal) =>
      Promise.all([
        get("/api/sales/summary", {
          query: { ...query, days: 2 * days, show_id: filter.showId },
          signal,
        }),
        get("/api/sales/shows", { query: { ...query, days }, signal }),
      ]),
    );
    if (!found) return;
    const [summary, byShow] = found;
    this.summary.set({ ...summary, filter });
    this.byShow.set(byShow.items);
  }

  async #readCounts(): Promise<void> {
    const found = await this.#countsRead.run((signal) => get("/api/tickets/counts", { signal }));
    if (found) this.counts.set(found);
  }

  #onMessage = ({ event, data }: PushMessage): void => {
    const status = STATUS_OF_EVENT[event];
    if (!status || !data.sale) return;
    const sale = saleOf(data.sale, status);
    const before = this.sales.apply(rowOf(sale));
    if (before === undefined) return;
    if (before?.status !== status) this.#onStatus(status);
    if (!this.shows.value.has(sale.show_id)) void this.#readShows();
    this.#summaryTimer ??= setTimeout(() => {
      this.#summaryTimer = null;
      if (this.#lacksNumber()) void this.refresh();
      else this.#readSummary().catch(() => undefined);
    }, this.#summaryDelay());
    this.#countsTimer ??= setTimeout(() => {
      this.#countsTimer = null;
      this.#readCounts().catch(() => undefined);
    }, COUNTS_MS);
  };

  /** Whether a sale that a message brought is sold, so that its order's number is shown. */
  #lacksNumber(): boolean {
    return this.sales.value.rows.some((sale) => sale.status === "sold" && !sale.order_number);
  }

  #summaryDelay(): number {
    const now = performance.now();
    const delay = Math.max(0, this.#summaryAt + SUMMARY_MS - now);
    this.#summaryAt = now + delay;
    return delay;
  }

  /** Read the shows of the sales, unless all are known. */
  async #readShows(): Promise<void> {
    const known = this.shows.value;
    if (this.#readingShows) return;
    const ids = [...this.sales.value.rows, ...this.counts.value.items].map((each) => each.show_id);
    if (ids.every((id) => known.has(id))) return;
    this.#readingShows = true;
    try {
      const shows = await getAll("/api/shows", { query: { seller: "me" } });
      this.shows.set(new Map(shows.map((show) => [show.id, show])));
    } catch {
      // Sales stand without the names of their shows until the next read.
    } finally {
      this.#readingShows = false;
    }
  }
}

type NotInMessages = "order_number" | "fee" | "refund_pending";
type SaleMembers = Omit<Sale, "created_at" | "seconds_left" | NotInMessages> &
  Partial<Pick<Sale, NotInMessages>>;

function saleOf(message: SaleMessage, status: Status): SaleMembers {
  const { order_id, ticket, amount: price, currency, held_until } = message;
  const { id: ticket_id, show_id, title, section, row, seat } = ticket;
  // A message is sent the moment the sale changed.
  const updated_at = new Date(serverNow()).toISOString();
  const seats = { title, section, row, seat };
  return {
    order_id,
    ticket_id,
    show_id,
    ...seats,
    price,
    currency,
    status,
    held_until,
    updated_at,
  };
}

function idOf(sale: Pick<Sale, "order_id" | "ticket_id">): string {
  return `${sale.order_id} ${sale.ticket_id}`;
}

const PROGRESS: Record<Status, number> = { held: 1, paying: 2, released: 3, sold: 4, refunded: 5 };

/** A hold that is extended has a higher version as well. */
export function rowOf(sale: SaleMembers): SaleRow {
  const heldUntil = sale.status === "held" ? Date.parse(sale.held_until ?? "") : 0;
  return { ...sale, id: idOf(sale), version: PROGRESS[sale.status] * 1e13 + heldUntil };
}
