// Holding tickets: the request, the words of its button, and the words for each way it is refused.
import { post } from "./api";
import type { Order } from "./api-types";
import { secondsUntil } from "./clock";
import { minutes, money } from "./format";
import type { Problem } from "./http";
import type { IdempotentRequest } from "./idempotency";
import { pastOutageText } from "./outage";
import { placeText, type ShownShow } from "./shows-by-id";
import { text } from "./texts";

/**
 * Returns the new order. Throws a Problem, also when the order costs more than `shown.total`, or
 * when a show has another place or time than in `shown.shows`.
 */
export function holdTickets(
  ids: readonly string[],
  shown: { total: number; shows: Record<string, ShownShow> },
  request: IdempotentRequest,
): Promise<Order> {
  const sorted = [...ids].sort();
  const body = { ticket_ids: sorted, shown_total: shown.total, shown_shows: shown.shows };
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
  return text("shared.quantity", { count });
}

export function durationText(seconds: number): string {
  return seconds < 120
    ? text("shared.seconds", { count: seconds })
    : text("shared.minutes", { count: Math.round(seconds / 60) });
}

/** The time until the problem's `retry_at`. */
export function waitText({ body }: Problem): string {
  return minutes(body.retry_at ? secondsUntil(body.retry_at) : 0);
}

function coolingDownText(problem: Problem): string {
  const left = waitText(problem);
  return problem.body.limited === "network"
    ? text("shared.hold_cooling_network", { left })
    : text("shared.hold_cooling_account", { left });
}

function priceChangedText({ body }: Problem): string {
  const { total = 0, shown_total = 0, currency = "" } = body;
  return text("shared.total_rose", {
    before: money(shown_total, currency),
    now: money(total, currency),
  });
}

function showChangedText({ body }: Problem): string {
  const now = Object.values(body.shows ?? {})
    .map(placeText)
    .join("; ");
  return text("shared.show_moved", { now });
}

/** Why the tickets that `names` lists could not be held. */
export function holdRefusalText(problem: Problem, names: string): string {
  const { held_until, max_tickets_per_show } = problem.body;
  const { outage } = problem;
  if (outage) return text("shared.hold_outage", { outage: pastOutageText(outage) });
  switch (problem.code) {
    case "ticket_unavailable":
      return held_until
        ? text("shared.hold_faster_until", { names, left: minutes(secondsUntil(held_until)) })
        : text("shared.hold_faster", { names });
    case "price_changed":
      return priceChangedText(problem);
    case "show_changed":
      return showChangedText(problem);
    case "own_ticket":
      return text("shared.hold_own", { names });
    case "sales_ended":
      return text("shared.hold_sales_ended");
    case "too_many_open_orders":
      return text("shared.hold_several");
    case "too_many_tickets_of_show":
      return max_tickets_per_show === undefined
        ? text("shared.hold_most_of_show_unknown")
        : text("shared.hold_most_of_show", { count: max_tickets_per_show });
    case "total_too_large":
      return text("shared.total_too_large");
    case "total_too_small":
      return text("shared.total_too_small");
    case "cooling_down":
      return coolingDownText(problem);
    case "ticket_given_up":
      return text("shared.hold_given_up", { names, left: waitText(problem) });
    default:
      return text("shared.hold_failed", { message: problem.message });
  }
}
