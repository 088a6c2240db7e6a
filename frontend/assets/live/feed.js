// What a page shows, read from the API and kept live. A feed of one thing extends this: it says how it reads, and whom it
// listens to.
import { Observable } from "./observable.js";
import { Reading } from "./reading.js";

export class Feed {
  problem = new Observable(null);
  #reading = new Reading();

  /** Read, and listen from then on. Returns the way to stop. */
  open() {
    this.#reading.open();
    this.again();
    const stop = this.listen();
    return () => {
      stop();
      this.#reading.close();
    };
  }

  /** Start to listen; returns the way to stop. One whose page listens for it has nothing to do here. */
  listen() {
    return () => undefined;
  }

  /** Read, and keep what went wrong for the page to show. */
  again = () => this.read().catch(() => undefined);

  /** `take` what `ask(signal)` finds, unless a newer answer was taken. A fault is the page's to show, and passes through. */
  async take(ask, take) {
    try {
      const found = await this.#reading.latest(ask);
      if (!found) return;
      take(found);
      this.problem.set(null);
    } catch (fault) {
      this.problem.set(fault);
      throw fault;
    }
  }
}
