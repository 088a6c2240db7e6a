// One show as a seller reads it: the seller's own tickets, the newest first; for the owner of the
// show those of others too, also hidden ones. Each list is read a few pages at a time.
import { get } from "../shared/api";
import type { Ticket } from "../shared/api-types";
import { learnTimeFromHold } from "../shared/clock";
import { Observable } from "../shared/observable";
import { MAX_PAGE_SIZE, ShowFeed } from "../shared/show-feed";

/** The pages that a read reads of each list, and that `readOlder` reads after them. */
const PAGES = 2;
/** A read after a lost connection reads no more of each list. */
const MAX_PAGES = 10;

type ListName = "own" | "listed" | "hidden";
type Cursors = Partial<Record<ListName, string>>;
const QUERIES = { own: { seller: "me" }, listed: {}, hidden: { hidden: true } };

export class SellerFeed extends ShowFeed {
  /** The cursors of the lists that have older tickets than those that were read. */
  readonly older = new Observable<Cursors>({});
  readonly #sellerId: string;
  /** How many pages of each list a read reads. */
  #pages = PAGES;
  #signal = new AbortController().signal;

  constructor(id: string, sellerId: string) {
    super(id);
    this.#sellerId = sellerId;
  }

  override open(): () => void {
    const controller = new AbortController();
    this.#signal = controller.signal;
    const close = super.open();
    return () => {
      controller.abort();
      close();
    };
  }

  read = (): Promise<void> => {
    const before = this.tickets.snapshot();
    const sentAt = performance.now();
    return this.load(
      async (signal) => {
        const [own, { show, others }] = await Promise.all([
          this.#read("own", null, signal, this.#pages),
          this.#readShow(signal),
        ]);
        return { show, lists: [own, ...others] };
      },
      ({ show, lists }) => {
        const tickets = lists.flatMap(({ items }) => items);
        learnTimeFromHold(tickets, sentAt);
        this.show.set(show);
        this.older.set(Object.assign({}, ...lists.map(({ older }) => older)) as Cursors);
        this.tickets.replace(newest(tickets), before);
      },
    );
  };

  /** The show and, for its owner, the tickets of other sellers. */
  async #readShow(signal: AbortSignal) {
    const show = await get("/api/shows/{id}", { params: { id: this.id }, signal });
    const names: ListName[] = show.owner_id === this.#sellerId ? ["listed", "hidden"] : [];
    const read = names.map((name) => this.#read(name, null, signal, this.#pages));
    return { show, others: await Promise.all(read) };
  }

  /** Read older tickets, now and in each later read. Throws when that fails. */
  async readOlder(): Promise<void> {
    const cursors = Object.entries(this.older.value) as [ListName, string][];
    const read = cursors.map(([name, cursor]) => this.#read(name, cursor, this.#signal));
    const lists = await Promise.all(read);
    this.#pages = Math.min(MAX_PAGES, this.#pages + PAGES);
    this.older.set(Object.assign({}, ...lists.map(({ older }) => older)) as Cursors);
    this.tickets.merge(newest(lists.flatMap(({ items }) => items)));
  }

  protected override onTicket(ticket: Ticket): boolean {
    return this.tickets.apply(ticket) !== undefined;
  }

  async #read(name: ListName, from: string | null, signal: AbortSignal, pages = PAGES) {
    const items: Ticket[] = [];
    let cursor = from;
    for (let page = 0; page < pages; page += 1) {
      const query = { show_id: this.id, limit: MAX_PAGE_SIZE, ...QUERIES[name], cursor };
      const reply = await get("/api/tickets", { query, signal });
      items.push(...reply.items);
      cursor = reply.next_cursor;
      if (cursor === null) break;
    }
    const older: Cursors = cursor === null ? {} : { [name]: cursor };
    return { items, older };
  }
}

/** Each ticket once, in the order in which they were listed: the lists share some. */
function newest(tickets: readonly Ticket[]): Ticket[] {
  return [...Map.groupBy(tickets, ({ id }) => id).values()]
    .map((same) => same.reduce((one, other) => (other.version > one.version ? other : one)))
    .sort((one, other) => (one.id < other.id ? -1 : 1));
}
