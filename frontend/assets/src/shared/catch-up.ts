// Reads that make up for lost messages. Each subscriber reads again after a random delay, so that
// the browsers of all visitors do not read at once after a gateway restart.
import type { Subscriber } from "./push";

/** The longest random delay before a read. */
export const JITTER_MS = 3000;

export class CatchUp {
  /** Subscribers whose read has not begun. */
  readonly #waiting = new Set<Subscriber>();
  readonly #reading = new Set<Promise<void>>();
  readonly #onDone: () => void;

  /** `onDone` is called when the last read has succeeded. */
  constructor(onDone: () => void) {
    this.#onDone = onDone;
  }

  /** Have these subscribers read again within `jitterMs`. */
  start(subscribers: Iterable<Subscriber>, jitterMs: number): void {
    for (const subscriber of subscribers) {
      if (!this.#waiting.has(subscriber)) void this.#readLater(subscriber, jitterMs);
    }
  }

  async #readLater(subscriber: Subscriber, jitterMs: number): Promise<void> {
    this.#waiting.add(subscriber);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * jitterMs));
    // From here on a new gap needs another read.
    this.#waiting.delete(subscriber);
    const reading = subscriber.read();
    this.#reading.add(reading);
    try {
      await reading;
    } catch {
      this.start([subscriber], 2 * JITTER_MS);
      return;
    } finally {
      this.#reading.delete(reading);
    }
    if (this.#reading.size === 0 && this.#waiting.size === 0) this.#onDone();
  }
}
