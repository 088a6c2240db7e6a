// Rows that are live: read from the API, then changed by push messages. A row is replaced only by
// a higher version, so messages may arrive late, twice or in any order. Watchers are notified at
// most once in an animation frame.
import { Observable } from "./observable";

/** `touched` counts the changes that arrived by message, so that a row can be highlighted. */
export type Live<T> = T & { touched: number };

interface Versioned {
  id: string;
  version: number;
}

/** Which rows were known when a read began, and in which versions. */
export type Snapshot = ReadonlyMap<string, number>;

export class LiveRows<T extends Versioned> extends Observable<{
  rows: readonly Live<T>[];
  /** Whether the rows were read. */
  ready: boolean;
}> {
  #rows = new Map<string, Live<T>>();
  #frame: number | null = null;

  constructor() {
    super({ rows: [], ready: false });
  }

  row(id: string): Live<T> | undefined {
    return this.#rows.get(id);
  }

  /**
   * Apply a message's row. Returns the row that it replaced, null for a new row, and undefined
   * when the message is not newer than the known row.
   */
  apply(row: T): Live<T> | null | undefined {
    const known = this.#rows.get(row.id);
    if (known && row.version <= known.version) return undefined;
    this.#rows.set(row.id, { ...known, ...row, touched: (known?.touched ?? 0) + 1 });
    this.#scheduleNotify();
    return known ?? null;
  }

  /**
   * Apply a message's row, which may lack members, to a known row. Unknown rows are on pages that
   * were not read.
   */
  applyKnown(row: Partial<T> & Versioned): Live<T> | null | undefined {
    const known = this.#rows.get(row.id);
    return known && this.apply({ ...known, ...row });
  }

  /**
   * Replace all rows by those of an API response. A row that a message changed meanwhile stays
   * when it is newer. A row that the response lacks is removed, unless a message brought it after
   * the read began, which `before` shows.
   */
  replace(rows: readonly T[], before?: Snapshot): void {
    const fresh = new Map<string, Live<T>>();
    for (const row of rows) {
      const known = this.#rows.get(row.id);
      const newer = known && known.version > row.version;
      fresh.set(row.id, newer ? known : { ...row, touched: known?.touched ?? 0 });
    }
    for (const [id, row] of this.#rows) {
      if (!fresh.has(id) && before && before.get(id) !== row.version) fresh.set(id, row);
    }
    this.#rows = fresh;
    this.#notify();
  }

  /** Add rows of an API response, or replace older ones by them. Other rows stay. */
  merge(rows: readonly T[]): void {
    for (const row of rows) {
      const known = this.#rows.get(row.id);
      if (known && row.version <= known.version) continue;
      this.#rows.set(row.id, { ...row, touched: known?.touched ?? 0 });
    }
    this.#notify();
  }

  /** To be taken before a read, for `replace`. */
  snapshot(): Snapshot {
    return new Map([...this.#rows].map(([id, row]) => [id, row.version]));
  }

  /** Forget which rows changed: a page that opens from now on highlights none of them. */
  settle(): void {
    for (const [id, row] of this.#rows) if (row.touched) this.#rows.set(id, { ...row, touched: 0 });
    this.#scheduleNotify();
  }

  #scheduleNotify(): void {
    this.#frame ??= requestAnimationFrame(() => {
      this.#notify();
    });
  }

  #notify(): void {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#frame = null;
    this.set({ rows: [...this.#rows.values()], ready: true });
  }
}
