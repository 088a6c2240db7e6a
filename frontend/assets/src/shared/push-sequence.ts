// Finds gaps in a channel. The notifier numbers the messages of each channel: `_seq` grows by one
// within an `_epoch`, and a new epoch begins when the numbering was lost.

export class PushSequence {
  #epoch: string | number | null = null;
  #seq = 0;

  /** After a subscription no number is expected: the messages before it are unknown. */
  reset(): void {
    this.#epoch = null;
  }

  /**
   * "known" for a message that came before, "next" for the expected one, and "gap" when messages
   * before this one were lost.
   */
  accept(epoch: string | number, seq: number): "known" | "next" | "gap" {
    const sameEpoch = epoch === this.#epoch;
    if (sameEpoch && seq <= this.#seq) return "known";
    const gap = this.#epoch !== null && !(sameEpoch && seq === this.#seq + 1);
    this.#epoch = epoch;
    this.#seq = seq;
    return gap ? "gap" : "next";
  }
}
