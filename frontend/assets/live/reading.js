// Readings of one thing, of which several may be under way. The first answer is shown at once; an answer to an older
// question never replaces one to a newer.
export class Reading {
  #asked = 0;
  #answered = 0;
  #open = new AbortController();

  open() {
    this.#open = new AbortController();
  }

  /** Nobody wants an answer any more. */
  close() {
    this.#open.abort();
  }

  /** What `ask(signal)` finds, or undefined when that is old by now or unwanted. Its faults pass through. */
  async latest(ask) {
    const { signal } = this.#open;
    const turn = (this.#asked += 1);
    try {
      const found = await ask(signal);
      if (signal.aborted || turn < this.#answered) return undefined;
      this.#answered = turn;
      return found;
    } catch (fault) {
      if (fault.name === "AbortError") return undefined;
      throw fault;
    }
  }
}
