// Holding tickets: the request, the words of its button, and the words for each way it is refused.
import { post } from "./api";
import type { Order } from "./api-types";
import { secondsUntil } from "./clock";
import { minutes, money } from "./format";
import type { Problem } from "./http";
import type { IdempotentRequest } from "./idempotency";
import { text } from "./texts";

/**
 * Returns the new order. Throws a Problem, also when the order costs more than `shownTotal`, which
 * the page shows.
 */
export function holdTickets(
  ids: readonly string[],
  shownTotal: number,
  request: IdempotentRequest,
): Promise<Order> {
  const sorted = [...ids].sort();
  const body = { ticket_ids: sorted, shown_total: shownTotal };
  return request.make(JSON.stringify(body), (idempotencyKey) =>
    post("/api/orders", body, { idempotencyKey }),
  );
}

/** The total of a refusal because of a higher price, which the buyer may confirm. */
export function changedTotal({ code, body }: Problem): number | null {
  return code === "price_changed" ? (body.total ?? null) : null;
}

/** "it", "both", "all 3" */
export function quantityText(count: number): string {
  if (count === 1) return "it";
  return count === 2 ? "both" : `all ${count}`;
}

export function durationText(seconds: number): string {
  return seconds < 120 ? `${seconds} seconds` : `${Math.round(seconds / 60)} minutes`;
}

/** The time until the problem's `retry_at`. */
export function waitText({ body }: Problem): string {
  return minutes(body.retry_at ? secondsUntil(body.retry_at) : 0);
}

function coolingDownText({ body }: Problem): string {
  return body.limited === "network"
    ? "Too many tickets were held unpaid from your network."
    : "You held tickets for a long time and did not pay.";
}

function priceChangedText({ body }: Problem): string {
  const { total = 0, shown_total = 0, currency = "" } = body;
  return text("shared.total_rose", {
    before: money(shown_total, currency),
    now: money(total, currency),
  });
}

/** Why the tickets that `names` lists could not be held. */
export function holdRefusalText(problem: Problem, names: string): string {
  const { held_until, max_tickets_per_show } = problem.body;
  switch (problem.code) {
    case "ticket_unavailable": {
      const faster = `Somebody was faster with ${names}.`;
      return held_until
        ? `${faster} It may be free in ${minutes(secondsUntil(held_until))}.`
        : faster;
    }
    case "price_changed":
      return priceChangedText(problem);
    case "own_ticket":
      return `You are selling ${names} yourself.`;
    case "too_many_open_orders":
      return "You hold several orders already. Pay for one or let one go first.";
    case "too_many_tickets_of_show":
      return `You may have ${max_tickets_per_show ?? "no more"} tickets of one show.`;
    case "total_too_large":
      return "One payment cannot take so much. Choose fewer tickets.";
    case "total_too_small":
      return "Cards can't be charged so little. Choose more or other tickets.";
    case "cooling_down":
      return `${coolingDownText(problem)} You can hold again in ${waitText(problem)}.`;
    case "ticket_given_up":
      return `You gave ${names} up. You can hold again in ${waitText(problem)}; others can now.`;
    case "offline":
      return "No connection to the shop. Try again: you will not hold anything twice.";
    default:
      return `That could not be held. Try again. (${problem.message})`;
  }
}
