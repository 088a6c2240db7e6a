// What an order is to its buyer at this moment, and what its payment is.
import { serverNow } from "./clock.js";

const UNDER_WAY = new Set(["started", "requires_action", "authorised"]);
const HELD = new Set(["pending", "awaiting_payment"]);

/** Whether its buyer still has the tickets without having paid. */
export function isHeld(order) {
  return HELD.has(order.status) && Date.parse(order.expires_at) > serverNow();
}

/**
 * Where a checkout stands: "choosing" a card, "paying", "challenge" (the bank asks), "late" (time is up, and the bank has
 * not said no yet), "finishing"; or its end: "paid", "refunding", "refunded", "cancelled" or "expired".
 */
export function stageOf(order, payment) {
  if (order.status === "completed") return "paid";
  if (order.status === "refund_pending") return "refunding";
  if (order.status === "refunded" || order.status === "cancelled") return order.status;
  if (order.status === "confirmed" || payment?.status === "captured") return "finishing";
  // An attempt that was announced and not yet read is under way.
  const underWay = payment ? UNDER_WAY.has(payment.status) : order.payment_id !== null;
  if (!isHeld(order)) return underWay ? "late" : "expired";
  if (!underWay) return "choosing";
  return payment?.status === "requires_action" ? "challenge" : "paying";
}

/** The whole of the time that is running: the hold's, or the grace that paying adds. */
export function wholeSeconds(order, graceSeconds) {
  if (order.status !== "pending") return graceSeconds;
  return Math.round((Date.parse(order.expires_at) - Date.parse(order.created_at)) / 1000);
}

/** "calm", "soon" from half a minute on, "last" from ten seconds on, "over". */
export function levelOf(seconds) {
  return seconds > 30 ? "calm" : seconds > 10 ? "soon" : seconds > 0 ? "last" : "over";
}

export function secondsWords(seconds) {
  return seconds === 1 ? "1 second" : `${seconds} seconds`;
}

const DECLINES = {
  insufficient_funds: "There is not enough money on that card.",
  expired_card: "That card has expired.",
  incorrect_cvc: "The security code is not right.",
  incorrect_number: "The card number is not right.",
  processing_error: "The bank had a problem with it. Try again in a moment.",
  card_velocity_exceeded: "That card was used too often, or over its limit.",
  payment_intent_authentication_failure: "The bank did not get your approval.",
  authentication_required: "The bank wanted your approval and did not ask for it. Try again.",
  provider_unavailable: "The bank could not be reached. Try again in a moment.",
  abandoned: "The payment was not finished.",
};

/** Why a payment failed. A bank that says nothing, or that a card was stolen, is told alike. */
export function declineWords(payment) {
  return DECLINES[payment.decline_code] ?? DECLINES[payment.failure_code] ?? "The bank said no to that card.";
}
