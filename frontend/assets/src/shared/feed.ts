// The data of one page: read from the API and kept live by push messages. A subclass defines how
// it reads and which channel it subscribes to.
import { asProblem, type Problem } from "./http";
import { LatestRead } from "./latest-read";
import { Observable } from "./observable";
import type { PushMessage } from "./push-messages";

export abstract class Feed {
  /** Why the last read failed, for the page to show. */
  readonly problem = new Observable<Problem | null>(null);
  readonly #read = new LatestRead();

  /** Read the API. Throws when that fails. */
  abstract read: () => Promise<void>;

  /** Subscribe to the feed's channel; returns the function that unsubscribes. */
  protected subscribe(): () => void {
    return () => undefined;
  }

  /** Read, and stay live from then on. Returns the function that closes the feed. */
  open(): () => void {
    this.#read.open();
    void this.refresh();
    const unsubscribe = this.subscribe();
    return () => {
      unsubscribe();
      this.#read.close();
    };
  }

  /** Read; a failure is kept in `problem` and not thrown. */
  refresh = (): Promise<void> => this.read().catch(() => undefined);

  /**
   * Pass the result of `read` to `apply`, unless a newer one was used. Records and throws errors.
   */
  protected async load<T>(
    read: (signal: AbortSignal) => Promise<T>,
    apply: (result: T) => void,
  ): Promise<void> {
    try {
      const result = await this.#read.run(read);
      if (result === undefined) return;
      apply(result);
      this.problem.set(null);
    } catch (error) {
      this.problem.set(asProblem(error));
      throw error;
    }
  }
}

/** A feed that the signed-in user's own channel keeps live: see useUserFeed. */
export abstract class UserFeed extends Feed {
  abstract onMessage: (message: PushMessage) => void;
}
