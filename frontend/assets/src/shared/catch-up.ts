// Reads that make up for lost messages. Each subscriber reads again after a random delay, so that
// the browsers of all visitors do not read at once after a gateway restart.
import type { Subscriber } from "./push";
import { reach } from "./reach";

/** The longest random delay before a read. */
export const JITTER_MS = 3000;
/** Each page returns at a random time, so its reads need less jitter than after a gap. */
export const RETURN_JITTER_MS = 1000;

export class CatchUp {
  /** Subscribers whose read has not begun, with the timers of their reads. */
  readonly #waiting = new Map<Subscriber, ReturnType<typeof setTimeout>>();
  readonly #reading = new Set<Promise<void>>();
  /** Subscribers whose read failed in an outage: recovery.ts reads them, or its end does. */
  readonly #owed = new Set<Subscriber>();
  readonly #onDone: () => void;

  /** `onDone` is called when the last read has succeeded. */
  constructor(onDone: () => void) {
    this.#onDone = onDone;
    reach.watch(() => {
      if (reach.value === "reached") this.start(this.#owed, 0);
    });
  }

  /** Whether no read is under way or due. */
  get idle(): boolean {
    return this.#reading.size + this.#waiting.size + this.#owed.size === 0;
  }

  /** Have these subscribers read again within `jitterMs`. */
  start(subscribers: Iterable<Subscriber>, jitterMs: number): void {
    for (const subscriber of subscribers) {
      if (this.#waiting.has(subscriber)) continue;
      const timer = setTimeout(() => void this.#read(subscriber), Math.random() * jitterMs);
      this.#waiting.set(subscriber, timer);
    }
  }

  /** Have them read again now. The promise is fulfilled when all reads have ended. */
  async now(subscribers: Iterable<Subscriber>): Promise<void> {
    await Promise.all(Array.from(subscribers, (subscriber) => this.#read(subscriber)));
  }

  async #read(subscriber: Subscriber): Promise<void> {
    clearTimeout(this.#waiting.get(subscriber));
    // From here on a new gap needs another read.
    this.#waiting.delete(subscriber);
    this.#owed.delete(subscriber);
    const reading = subscriber.read();
    this.#reading.add(reading);
    try {
      await reading;
    } catch {
      if (reach.value === "reached") this.start([subscriber], 2 * JITTER_MS);
      else this.#owed.add(subscriber);
      return;
    } finally {
      this.#reading.delete(reading);
    }
    if (this.idle) this.#onDone();
  }
}
