// The tickets that a visitor has selected, kept for the tab: signing in on the way does not lose
// them.
import type { Ticket } from "../shared/api-types";
import { keep, recall } from "../shared/browser-storage";
import { Observable } from "../shared/observable";
import type { ShownShow } from "../shared/shows-by-id";

export class Selection {
  /** The ids of the selected tickets. */
  readonly ids: Observable<ReadonlySet<string>>;
  /** Whether a hold of them was requested and not answered. */
  readonly holding = new Observable(false);
  /** How many tickets a proposal was chosen for; null for tickets that were chosen one by one. */
  readonly proposed = new Observable<number | null>(null);
  /** A ticket of the proposal that another buyer took, until the next proposal is there. */
  readonly lost = new Observable<Ticket | null>(null);
  /** The words of the change that replaced a proposal. */
  readonly replaced = new Observable<string | null>(null);
  /** The prices at which tickets were selected. */
  readonly prices: Observable<ReadonlyMap<string, number>>;
  readonly #name: string;
  /** The place and time of the show when the first ticket was selected. */
  #place: ShownShow | null;

  constructor(showId: string) {
    this.#name = `gittix:pick:${showId}`;
    this.ids = new Observable<ReadonlySet<string>>(new Set(recalledIds(this.#name)));
    this.prices = new Observable<ReadonlyMap<string, number>>(
      new Map(recalledPrices(pricesName(this.#name))),
    );
    this.#place = recall(placeName(this.#name)) as ShownShow | null;
  }

  has(id: string): boolean {
    return this.ids.value.has(id);
  }

  toggle = (id: string): void => {
    const ids = new Set(this.ids.value);
    if (!ids.delete(id)) ids.add(id);
    this.proposed.set(null);
    this.replaced.set(null);
    this.#set(ids);
  };

  /** Select the tickets of a proposal, and no others. `replaced`: instead of another proposal. */
  choose(ids: readonly string[], replaced: string | null = null): void {
    this.proposed.set(ids.length || null);
    this.replaced.set(replaced);
    this.#set(new Set(ids));
  }

  /** Record the prices of tickets that were selected just now, and forget those of the others. */
  recordPrices(tickets: readonly Pick<Ticket, "id" | "price">[]): void {
    const known = this.prices.value;
    const prices = tickets.map(({ id, price }) => [id, known.get(id) ?? price] as const);
    if (prices.length === known.size && prices.every(([id]) => known.has(id))) return;
    keep(pricesName(this.#name), prices);
    this.prices.set(new Map(prices));
  }

  get place(): ShownShow | null {
    return this.#place;
  }

  /** Record the place and time that the page shows, unless the tickets were selected at another. */
  recordPlace(place: ShownShow): void {
    if (this.#place === null && this.ids.value.size > 0) this.confirmPlace(place);
  }

  /** Replace the place and time by those that a refusal showed. */
  confirmPlace(place: ShownShow | null): void {
    this.#place = place;
    keep(placeName(this.#name), place);
  }

  clear(): void {
    this.#set(new Set());
  }

  #set(ids: ReadonlySet<string>): void {
    if (ids.size === 0) this.confirmPlace(null);
    keep(this.#name, [...ids]);
    this.ids.set(ids);
  }
}

const pricesName = (name: string) => `${name}:prices`;
const placeName = (name: string) => `${name}:place`;

function recalledPrices(name: string): [string, number][] {
  const prices = recall(name);
  return Array.isArray(prices) ? (prices as [string, number][]) : [];
}

function recalledIds(name: string): string[] {
  const ids = recall(name);
  return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
}
