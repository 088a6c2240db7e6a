// Sends a change of many tickets, as many requests as the API's bound needs.
import { post } from "../shared/api";
import type { ChangedTicket } from "../shared/api-types";
import { IdempotentRequest } from "../shared/idempotency";

/** The most tickets of one request. */
export const MAX_AT_ONCE = 500;

export type BulkChange = { price: number; currency: string } | { withdraw: true };

export interface BulkOutcome {
  changed: ChangedTicket[];
  refused: ChangedTicket[];
}

/**
 * One request after the other, each performed once. Throws when one fails; `onOutcomes` has been
 * called with the outcomes of those before it.
 */
export class BulkRequest {
  readonly #requests = new Map<string, IdempotentRequest>();

  async make(
    ids: readonly string[],
    change: BulkChange,
    onOutcomes: (items: readonly ChangedTicket[]) => void,
  ): Promise<BulkOutcome> {
    const outcome: BulkOutcome = { changed: [], refused: [] };
    for (let start = 0; start < ids.length; start += MAX_AT_ONCE) {
      const ticket_ids = ids.slice(start, start + MAX_AT_ONCE);
      const body = { ticket_ids, ...change };
      const content = JSON.stringify(body);
      const request = this.#requests.get(content) ?? new IdempotentRequest();
      this.#requests.set(content, request);
      const { items } = await request.make(content, (idempotencyKey) =>
        post("/api/tickets/changes", body, { idempotencyKey }),
      );
      this.#requests.delete(content);
      for (const item of items) (item.error ? outcome.refused : outcome.changed).push(item);
      onOutcomes(items);
    }
    return outcome;
  }
}
