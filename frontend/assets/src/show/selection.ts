// The tickets that a visitor has selected, kept for the tab: signing in on the way does not lose
// them.
import type { Ticket } from "../shared/api-types";
import { keep, recall } from "../shared/browser-storage";
import { Observable } from "../shared/observable";

export class Selection {
  /** The ids of the selected tickets. */
  readonly ids: Observable<ReadonlySet<string>>;
  /** Whether a hold of them was requested and not answered. */
  readonly holding = new Observable(false);
  /** The prices at which tickets were selected. */
  readonly prices: Observable<ReadonlyMap<string, number>>;
  readonly #name: string;

  constructor(showId: string) {
    this.#name = `gittix:pick:${showId}`;
    this.ids = new Observable<ReadonlySet<string>>(new Set(recalledIds(this.#name)));
    this.prices = new Observable<ReadonlyMap<string, number>>(
      new Map(recalledPrices(pricesName(this.#name))),
    );
  }

  has(id: string): boolean {
    return this.ids.value.has(id);
  }

  toggle = (id: string): void => {
    const ids = new Set(this.ids.value);
    if (!ids.delete(id)) ids.add(id);
    this.#set(ids);
  };

  /** Record the prices of tickets that were selected just now, and forget those of the others. */
  recordPrices(tickets: readonly Pick<Ticket, "id" | "price">[]): void {
    const known = this.prices.value;
    const prices = tickets.map(({ id, price }) => [id, known.get(id) ?? price] as const);
    if (prices.length === known.size && prices.every(([id]) => known.has(id))) return;
    keep(pricesName(this.#name), prices);
    this.prices.set(new Map(prices));
  }

  clear(): void {
    this.#set(new Set());
  }

  #set(ids: ReadonlySet<string>): void {
    keep(this.#name, [...ids]);
    this.ids.set(ids);
  }
}

const pricesName = (name: string) => `${name}:prices`;

function recalledPrices(name: string): [string, number][] {
  const prices = recall(name);
  return Array.isArray(prices) ? (prices as [string, number][]) : [];
}

function recalledIds(name: string): string[] {
  const ids = recall(name);
  return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
}
