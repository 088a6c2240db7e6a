// Finds out that the shop answers again, and keeps a page without push messages from growing old.
//
// While a service fails, the page reads again after 1 s, then up to every 3 s: that is the longest
// time until it is right after the server's return. While only the push connection is lost, it
// reads every 10 s. Each time is random by a quarter, so the pages of many browsers spread over it:
// with N open pages a server that returns gets N/3 reads a second, and N/10 while its gateway is
// down.
import { isUntouched, notes, openFailures, reach } from "./reach";

const FIRST_MS = 1000;
const GROWTH = 1.5;
export const MAX_RETRY_MS = 3000;
export const POLL_MS = 10_000;
/** Most reconnects take less. */
const FIRST_POLL_MS = 2500;
const ANY_SERVICE = "/shop.json";
/** A read without a reply does not delay the next. */
const TURN_MS = 4000;

/** Between three and five quarters of it. */
export function jittered(ms: number): number {
  return ms * (0.75 + Math.random() / 2);
}

export class Recovery {
  readonly #read: () => Promise<unknown>;
  readonly #probe: (url: string) => Promise<unknown>;
  #pushLost = false;
  #turns = 0;
  #running = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** Whether a service failed when the timer was set: a poll of the other kind may wait longer. */
  #urgent = false;

  /** `read` reads the page's data; `probe` sends a request and ignores its reply. */
  constructor(read: () => Promise<unknown>, probe: (url: string) => Promise<unknown>) {
    this.#read = read;
    this.#probe = probe;
    reach.watch(this.#schedule);
  }

  setPushLost(lost: boolean): void {
    if (lost === this.#pushLost) return;
    this.#pushLost = lost;
    this.#schedule();
  }

  readonly #schedule = (): void => {
    const urgent = reach.value !== "reached";
    const needed = urgent || this.#pushLost;
    if (!needed || urgent !== this.#urgent) {
      if (this.#timer !== null) clearTimeout(this.#timer);
      this.#timer = null;
      // What answers again was just read.
      this.#turns = needed && !urgent ? 1 : 0;
      this.#urgent = urgent;
    }
    if (!needed || this.#timer !== null || this.#running) return;
    this.#timer = setTimeout(() => void this.#turn(), this.#wait());
  };

  #wait(): number {
    if (!this.#urgent) return jittered(this.#turns === 0 ? FIRST_POLL_MS : POLL_MS);
    const wished = openFailures().map(({ notBefore }) => notBefore - performance.now());
    const grown = Math.min(FIRST_MS * GROWTH ** this.#turns, MAX_RETRY_MS);
    return Math.max(jittered(grown), ...wished);
  }

  async #turn(): Promise<void> {
    this.#timer = null;
    this.#running = true;
    this.#turns += 1;
    await Promise.race([this.#attempt(), new Promise((resolve) => setTimeout(resolve, TURN_MS))]);
    this.#running = false;
    this.#schedule();
  }

  /** Read, then ask the failing services that no read concerned; without both, any service. */
  async #attempt(): Promise<void> {
    const [failures, before] = [openFailures(), notes()];
    await this.#read();
    const left = failures.filter(isUntouched).map(({ url }) => url);
    if (notes() === before && left.length === 0) left.push(ANY_SERVICE);
    await Promise.all(left.map(this.#probe));
  }
}
