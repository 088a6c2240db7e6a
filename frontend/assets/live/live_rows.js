// Rows that are live: read from the API, then changed by push messages. A row is replaced only by a higher version, so
// messages may come late, twice or in any order. However many come, watchers hear of them once in a frame.
import { Observable } from "./observable.js";

export class LiveRows extends Observable {
  #rows = new Map();
  #frame = null;

  constructor() {
    super({ rows: [], ready: false });
  }

  row(id) {
    return this.#rows.get(id);
  }

  /** A message's row, whole or in part. Returns the row that it replaced, undefined when it is not newer. */
  apply(row) {
    const known = this.#rows.get(row.id);
    if (known && row.version <= known.version) return undefined;
    this.#rows.set(row.id, { ...known, ...row, touched: (known?.touched ?? 0) + 1 });
    this.#soon();
    return known ?? null;
  }

  /** A message's row, only if the row is known: the others are on pages that were not read. */
  applyKnown(row) {
    if (this.#rows.has(row.id)) this.apply(row);
  }

  /**
   * All rows as the API told them. What a message brought meanwhile stays when it is newer; a row that the API left
   * out is gone unless it came by a message since the reading `began`, which `mark` returned.
   */
  replace(rows, began) {
    const fresh = new Map();
    for (const row of rows) {
      const known = this.#rows.get(row.id);
      const newer = known && known.version > row.version;
      fresh.set(row.id, newer ? known : { ...row, touched: known?.touched ?? 0 });
    }
    for (const [id, row] of this.#rows) {
      if (!fresh.has(id) && began && began.get(id) !== row.version) fresh.set(id, row);
    }
    this.#rows = fresh;
    this.#tell();
  }

  mark() {
    return new Map([...this.#rows].map(([id, row]) => [id, row.version]));
  }

  /** Whoever looks from now on saw none of the changes so far. */
  settle() {
    for (const [id, row] of this.#rows) if (row.touched) this.#rows.set(id, { ...row, touched: 0 });
    this.#soon();
  }

  #soon() {
    this.#frame ??= requestAnimationFrame(() => this.#tell());
  }

  #tell() {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#frame = null;
    this.set({ rows: [...this.#rows.values()], ready: true });
  }
}
