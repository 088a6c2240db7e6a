// Keeps the messages of one channel complete and in order. The notifier numbers them: `_seq` grows
// by one within an `_epoch`. After a reconnect, or when numbers are missing, the gateway is asked
// for the messages after the last one. Until it answers, messages that may be ahead of missing ones
// are kept. Without all that was missed, the subscribers read the API.
import { JITTER_MS, RETURN_JITTER_MS } from "./catch-up";
import type { PushMessage } from "./push-messages";

/** Without an answer in this time, the server does not know the request. */
export const ANSWER_MS = 2000;
/** The most messages that are kept until the answer; the gateway holds as many. */
const MAX_KEPT = 1000;

type Epoch = string | number;

/** The last message of a channel. */
export interface Position {
  epoch: Epoch;
  seq: number;
}

/** The data of `gittix:resumed`; without a position in an outage of Redis. */
export interface ResumeReply {
  recovered: boolean;
  epoch: Epoch | null;
  seq: number | null;
}

/** The data of `gittix:skipped`: the missing numbers of this range are no gap. */
export interface Skipped {
  epoch: Epoch;
  from: number;
  to: number;
}

export interface Owner {
  /** Ask the gateway for the messages after this one. Returns false if it does not know how. */
  ask: (position: Position) => boolean;
  deliver: (message: PushMessage) => void;
  /** Messages were lost: read the API within `jitterMs`. */
  read: (jitterMs: number) => void;
  /** The gateway answered, or did not. */
  onAnswer: () => void;
}

interface Wait {
  timer: ReturnType<typeof setTimeout>;
  kept: PushMessage[];
}

export class Resumption {
  readonly #owner: Owner;
  #position: Position | null = null;
  #wait: Wait | null = null;
  #skipped: Skipped | null = null;

  constructor(owner: Owner) {
    this.#owner = owner;
  }

  /** Whether an answer is awaited. */
  get waits(): boolean {
    return this.#wait !== null;
  }

  /**
   * The channel was subscribed, after the message at `position`. Returns whether missed messages
   * are requested; else the subscribers must read the API.
   */
  subscribed(position: Position | null): boolean {
    this.lost();
    if (this.#position && this.#ask([])) return true;
    this.#position = position;
    return false;
  }

  /** The connection is lost, and the answer with it. Kept messages are requested again. */
  lost(): void {
    if (this.#wait) clearTimeout(this.#wait.timer);
    this.#wait = null;
  }

  accept(message: PushMessage): void {
    const position = positionOf(message);
    if (!position) {
      this.#owner.deliver(message);
    } else if (this.#isKnown(position)) {
      return;
    } else if (this.#follows(position)) {
      this.#advance(message, position);
    } else if (this.#wait) {
      this.#wait.kept.push(message);
      if (this.#wait.kept.length > MAX_KEPT) this.#finish(null, JITTER_MS);
    } else if (position.epoch !== this.#position?.epoch || !this.#ask([message])) {
      this.#advance(message, position);
      this.#owner.read(JITTER_MS);
    }
  }

  /** The page read too slowly: the gateway left out states that newer ones replace. */
  skip(skipped: Skipped): void {
    this.#skipped = skipped;
  }

  /** The gateway's answer, or its report that messages were lost. */
  answer({ recovered, epoch, seq }: ResumeReply): void {
    const position = epoch === null || seq === null ? null : { epoch, seq };
    if (this.#wait) {
      this.#finish(position, recovered ? null : JITTER_MS);
    } else if (!recovered && position && position.epoch !== this.#position?.epoch) {
      this.#position = position;
      this.#owner.read(JITTER_MS);
    }
  }

  #ask(kept: PushMessage[]): boolean {
    if (!this.#position || !this.#owner.ask(this.#position)) return false;
    const timer = setTimeout(() => {
      this.#finish(null, RETURN_JITTER_MS);
    }, ANSWER_MS);
    this.#wait = { timer, kept };
    return true;
  }

  /**
   * End the wait at this position, or at the last kept message, and deliver the kept messages in
   * order. With `jitterMs` the subscribers read the API.
   */
  #finish(position: Position | null, jitterMs: number | null): void {
    const kept = this.#wait?.kept.toSorted(bySeq) ?? [];
    this.lost();
    if (jitterMs !== null) this.#owner.read(jitterMs);
    for (const message of kept) {
      const own = positionOf(message);
      if (own && isUpTo(own, position) && !this.#isKnown(own)) this.#advance(message, own);
    }
    if (position && !this.#isKnown(position)) this.#position = position;
    for (const message of kept) this.accept(message);
    this.#owner.onAnswer();
  }

  #advance(message: PushMessage, position: Position): void {
    this.#position = position;
    this.#owner.deliver(message);
  }

  /** Whether it is the first message, or the next one but for those that were skipped. */
  #follows({ epoch, seq }: Position): boolean {
    if (!this.#position) return true;
    if (epoch !== this.#position.epoch) return false;
    const next = this.#position.seq + 1;
    const skipped = this.#skipped;
    return (
      seq === next || (skipped?.epoch === epoch && skipped.from <= next && seq - 1 <= skipped.to)
    );
  }

  #isKnown({ epoch, seq }: Position): boolean {
    return epoch === this.#position?.epoch && seq <= this.#position.seq;
  }
}

function positionOf({ data: { _epoch, _seq } }: PushMessage): Position | null {
  return _epoch === undefined || _seq === undefined ? null : { epoch: _epoch, seq: _seq };
}

function isUpTo({ epoch, seq }: Position, end: Position | null): boolean {
  return end === null || (epoch === end.epoch && seq <= end.seq);
}

function bySeq(one: PushMessage, other: PushMessage): number {
  return (one.data._seq ?? 0) - (other.data._seq ?? 0);
}
