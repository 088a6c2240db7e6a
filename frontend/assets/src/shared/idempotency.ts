// Idempotency keys: a request that is repeated after a lost response has no second effect.

/** crypto.randomUUID is missing where the shop is served without TLS. */
export function newKey(): string {
  const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A request that its user may repeat. The key stays while the content stays and the outcome is
 * unknown; different content, or a response that settles the outcome, leads to a new key.
 */
export class IdempotentRequest {
  #content: string | null = null;
  #key = "";

  /** Calls `send(key)`. `content` is equal for requests that are the same. */
  async make<T>(content: string, send: (key: string) => Promise<T>): Promise<T> {
    if (content !== this.#content) this.#key = newKey();
    this.#content = content;
    try {
      const reply = await send(this.#key);
      this.#content = null;
      return reply;
    } catch (error) {
      if (isSettled(error)) this.#content = null;
      throw error;
    }
  }
}

/** After a 4xx nothing happened. After a 5xx or no response the request may have taken effect. */
function isSettled(error: unknown): boolean {
  const status = (error as { status?: unknown }).status;
  return typeof status === "number" && status > 0 && status < 500;
}
