// Concurrent reads of the same data. The first response is used at once; a response to an older
// request never replaces one to a newer request.
import { isAbort } from "./http";

export class LatestRead {
  #requested = 0;
  #answered = 0;
  #controller = new AbortController();

  open(): void {
    this.#controller = new AbortController();
  }

  /** Abort the requests under way. */
  close(): void {
    this.#controller.abort();
  }

  /**
   * The result of `read(signal)`, or undefined when a newer result was used before or the read was
   * aborted. Other errors of `read` are thrown.
   */
  async run<T>(read: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    const { signal } = this.#controller;
    const turn = (this.#requested += 1);
    try {
      const result = await read(signal);
      if (signal.aborted || turn < this.#answered) return undefined;
      this.#answered = turn;
      return result;
    } catch (error) {
      if (isAbort(error)) return undefined;
      throw error;
    }
  }
}
