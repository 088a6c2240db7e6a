// A seller's sales: read from the API, kept live by the seller's own channel. A sale only moves forward, so how far it has
// come is its version, for messages and for readings alike.
import { get, getAll } from "./api.js";
import { heardOf, serverNow } from "./clock.js";
import { LiveRows } from "./live_rows.js";
import { Observable } from "./observable.js";
import { listen } from "./push.js";
import { Reading } from "./reading.js";
import { hereZone } from "./zones.js";

const PAGE = 50;
// However much is sold, the sums are asked for once in so long.
const SUM_MS = 700;
const STAGES = { held: 1, paying: 2, released: 3, sold: 4, refunded: 5 };
const HEARD_AS = { "sale.held": "held", "sale.extended": "held", "sale.released": "released", "sale.sold": "sold", "sale.refunded": "refunded" };

export class SalesFeed {
  sales = new LiveRows();
  summary = new Observable(null);
  showNames = new Observable(new Map());
  problem = new Observable(null);
  more = new Observable(false);
  /** Called with the status of each sale that a message changed. */
  onChange = null;
  #pages = 1;
  #reading = new Reading();
  #summing = new Reading();
  #sumSoon = null;
  #summedAt = -SUM_MS;
  #naming = null;

  constructor(sellerId, period) {
    this.sellerId = sellerId;
    this.period = period;
  }

  open() {
    this.#reading.open();
    this.#summing.open();
    this.again();
    const stop = listen(`private-user-${this.sellerId}`, { message: this.#message, reread: this.read });
    return () => {
      stop();
      clearTimeout(this.#sumSoon);
      this.#sumSoon = null;
      this.#reading.close();
      this.#summing.close();
    };
  }

  again = () => this.read().catch(() => undefined);

  readMore = () => {
    this.#pages += 1;
    return this.again();
  };

  /** Sums of another time from now on. */
  over(period) {
    this.period = period;
    return this.#sum();
  }

  read = async () => {
    const began = this.sales.mark();
    const sentAt = performance.now();
    try {
      const [found] = await Promise.all([this.#reading.latest((signal) => this.#ask(signal)), this.#sum()]);
      if (!found) return;
      heardOf(found.sales, sentAt);
      this.sales.replace(found.sales.map(rowOf), began);
      this.more.set(found.more);
      this.#learnNames();
      this.problem.set(null);
    } catch (fault) {
      this.problem.set(fault);
      throw fault;
    }
  };

  /** The newest pages, and whatever is held however many sales came after it. */
  async #ask(signal) {
    const held = getAll("/api/sales?status=held", { signal });
    const sales = [];
    let cursor = "";
    for (let page = 0; page < this.#pages && cursor !== null; page += 1) {
      const after = cursor && `&cursor=${encodeURIComponent(cursor)}`;
      const answer = await get(`/api/sales?limit=${PAGE}${after}`, { signal });
      sales.push(...answer.items);
      cursor = answer.next_cursor;
    }
    const known = new Set(sales.map(idOf));
    return { sales: [...sales, ...(await held).filter((sale) => !known.has(idOf(sale)))], more: cursor !== null };
  }

  async #sum() {
    const { period } = this;
    const { days, by } = period;
    const zone = encodeURIComponent(hereZone());
    const found = await this.#summing.latest((signal) => get(`/api/sales/summary?days=${days}&by=${by}&timezone=${zone}`, { signal }));
    if (found) this.summary.set({ ...found, period });
  }

  #message = (event, data) => {
    const status = HEARD_AS[event];
    if (!status) return;
    const { order_id, ticket, amount, currency, held_until } = data.sale;
    const { show_id, title, section, row, seat } = ticket;
    const updated_at = new Date(serverNow()).toISOString();
    const sale = { order_id, ticket_id: ticket.id, show_id, title, section, row, seat, price: amount, currency, status, held_until, updated_at };
    const before = this.sales.apply(rowOf(sale));
    if (before === undefined) return;
    if (before?.status !== status) this.onChange?.(status);
    if (!this.showNames.value.has(show_id)) this.#learnNames();
    this.#sumSoon ??= setTimeout(() => {
      this.#sumSoon = null;
      this.#sum().catch(() => undefined);
    }, this.#pause());
  };

  #pause() {
    const now = performance.now();
    const pause = Math.max(0, this.#summedAt + SUM_MS - now);
    this.#summedAt = now + pause;
    return pause;
  }

  #learnNames() {
    const { value: names } = this.showNames;
    if (this.#naming || this.sales.value.rows.every(({ show_id }) => names.has(show_id))) return;
    this.#naming = getAll("/api/shows?seller=me").then(
      (shows) => {
        this.#naming = null;
        this.showNames.set(new Map(shows.map((show) => [show.id, show])));
      },
      () => {
        this.#naming = null;
      },
    );
  }
}

export const idOf = (sale) => `${sale.order_id} ${sale.ticket_id}`;

/** A sale as a row that a later state of it replaces: a hold that is extended as well. */
export function rowOf(sale) {
  const heldUntil = sale.status === "held" ? Date.parse(sale.held_until) : 0;
  return { ...sale, id: idOf(sale), version: STAGES[sale.status] * 1e13 + heldUntil };
}

/** What the points of a summary come to; the takings are those in one currency. */
export function sumOf(points, currency) {
  const sum = { sold: 0, released: 0, refunded: 0, takings: { amount: 0, sold: 0 } };
  for (const point of points) {
    for (const status of ["sold", "released", "refunded"]) sum[status] += point[status];
    const { amount, sold } = takingsOf(point, currency);
    sum.takings.amount += amount;
    sum.takings.sold += sold;
  }
  return sum;
}

export function takingsOf(point, currency) {
  return point.revenue.find((takings) => takings.currency === currency) ?? { amount: 0, sold: 0 };
}

/** How many of a hundred holds that came to an end were paid for; null when none did. */
export function conversionOf({ sold, refunded, released }) {
  const ended = sold + refunded + released;
  return ended ? Math.round((100 * (sold + refunded)) / ended) : null;
}
