// Holding tickets: the request, and what its button and its refusals say.
import { post } from "./api.js";
import { secondsUntil } from "./clock.js";
import { minutes } from "./format.js";

/** The new order. */
export function holdTickets(ids, attempt) {
  const sorted = [...ids].sort();
  return attempt.make(sorted.join(), (key) => post("/api/orders", { ticket_ids: sorted }, { key }));
}

/** "it", "both", "all 3" */
export function allOf(count) {
  return count === 1 ? "it" : count === 2 ? "both" : `all ${count}`;
}

export function timeOf(seconds) {
  return seconds < 120 ? `${seconds} seconds` : `${Math.round(seconds / 60)} minutes`;
}

/** Why `which` could not be held, in words. */
export function refusalOfHold(fault, which) {
  switch (fault.code) {
    case "ticket_unavailable": {
      const until = fault.body.held_until;
      return `Somebody was faster with ${which}.${until ? ` It may be free in ${minutes(secondsUntil(until))}.` : ""}`;
    }
    case "own_ticket":
      return `You are selling ${which} yourself.`;
    case "too_many_open_orders":
      return "You hold several orders already. Pay for one or let one go first.";
    case "too_many_tickets_of_show":
      return `You may have ${fault.body.max_tickets_per_show} tickets of one show.`;
    case "cooling_down":
      return `Several of your holds ended unpaid. You can hold again in ${minutes(secondsUntil(fault.body.retry_at))}.`;
    case "offline":
      return "No connection to the shop. Try again: you will not hold anything twice.";
    default:
      return `That could not be held. Try again. (${fault.message})`;
  }
}
