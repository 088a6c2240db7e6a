// The tickets that a visitor has selected, kept for the tab: signing in on the way does not lose
// them.
import { keep, recall } from "../shared/browser-storage";
import { Observable } from "../shared/observable";

export class Selection {
  /** The ids of the selected tickets. */
  readonly ids: Observable<ReadonlySet<string>>;
  /** Whether a hold of them was requested and not answered. */
  readonly holding = new Observable(false);
  readonly #name: string;

  constructor(showId: string) {
    this.#name = `gittix:pick:${showId}`;
    this.ids = new Observable<ReadonlySet<string>>(new Set(recalledIds(this.#name)));
  }

  has(id: string): boolean {
    return this.ids.value.has(id);
  }

  toggle = (id: string): void => {
    const ids = new Set(this.ids.value);
    if (!ids.delete(id)) ids.add(id);
    this.#set(ids);
  };

  clear(): void {
    this.#set(new Set());
  }

  #set(ids: ReadonlySet<string>): void {
    keep(this.#name, [...ids]);
    this.ids.set(ids);
  }
}

function recalledIds(name: string): string[] {
  const ids = recall(name);
  return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
}
