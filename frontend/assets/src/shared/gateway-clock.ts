// The gateway's clock, asked over the page's connection. One question is under way at a time, and
// an answer to an earlier one is dropped; of several, learnServerTime keeps that of the shortest
// round trip. A question without an answer shows that the connection is stalled.
import { learnServerTime } from "./clock";

const QUESTIONS = 4;
const SPACING_MS = 150;
export const ANSWER_MS = 4000;

export class GatewayClock {
  readonly #send: (question: number) => void;
  readonly #onSilence: () => void;
  #sentAt: number | null = null;
  #question = 0;
  #questions = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `send` sends a question with its number, `onSilence` is called without an answer to it. */
  constructor(send: (question: number) => void, onSilence: () => void) {
    this.#send = send;
    this.#onSilence = onSilence;
  }

  /** Ask several times, the first time now unless a question is under way. */
  ask = (): void => {
    this.#questions = QUESTIONS;
    if (this.#sentAt === null) this.#askNext();
  };

  /** The gateway answered with its clock, in milliseconds since 1970. */
  answer = ({ now, question }: { now: number; question: number }): void => {
    if (this.#sentAt === null || question !== this.#question) return;
    learnServerTime(now, this.#sentAt, performance.now());
    this.#sentAt = null;
    this.#wait(SPACING_MS, this.#askNext);
  };

  /** The connection is lost, and the answer with it. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#sentAt = null;
    this.#questions = 0;
  }

  readonly #askNext = (): void => {
    if (this.#questions === 0) return;
    this.#questions -= 1;
    this.#sentAt = performance.now();
    this.#wait(ANSWER_MS, this.#onSilence);
    this.#question += 1;
    this.#send(this.#question);
  };

  #wait(ms: number, then: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
  }
}
