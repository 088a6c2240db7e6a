// An order as its buyer sees it at this moment.
import type { Order } from "./api-types";
import { serverNow } from "./clock";
import type { PaymentRow } from "./push-messages";
import type { SiteConfig } from "./site-config";

type HoldTimes = Pick<SiteConfig, "hold_seconds" | "payment_grace_seconds">;
type Timed = Pick<Order, "status" | "expires_at">;

/** Whether the buyer has the tickets without having paid for them. */
export function isHeld({ status, expires_at }: Timed): boolean {
  const unpaid = status === "pending" || status === "awaiting_payment";
  return unpaid && Date.parse(expires_at) > serverNow();
}

/**
 * The stages of a checkout. While its time runs: "choosing" a card, "paying", "challenge" (the
 * bank requires 3-D Secure). After it: "late" (the payment's outcome is unknown) and "finishing"
 * (paid, the tickets are being assigned). The others are final.
 */
export type RunningStage = "choosing" | "paying" | "challenge";
export type EndedStage =
  "late" | "finishing" | "paid" | "refunding" | "refunded" | "cancelled" | "expired";
export type Stage = RunningStage | EndedStage;

export function isRunning(stage: Stage | undefined): stage is RunningStage {
  return stage === "choosing" || stage === "paying" || stage === "challenge";
}

const UNDER_WAY = new Set<PaymentRow["status"]>(["started", "requires_action", "authorised"]);

export function stageOf(
  order: Timed & Pick<Order, "payment_id">,
  payment: Pick<PaymentRow, "status"> | undefined,
): Stage {
  if (order.status === "completed") return "paid";
  if (order.status === "refund_pending") return "refunding";
  if (order.status === "refunded" || order.status === "cancelled") return order.status;
  if (order.status === "confirmed" || payment?.status === "captured") return "finishing";
  // A payment that a message announced and that is not read yet counts as under way.
  const underWay = payment ? UNDER_WAY.has(payment.status) : order.payment_id !== null;
  if (!isHeld(order)) return underWay ? "late" : "expired";
  if (!underWay) return "choosing";
  return payment?.status === "requires_action" ? "challenge" : "paying";
}

/**
 * How long the running countdown is in all: the hold with its extension by the buyer, or the grace
 * of a payment that extended it.
 */
export function countdownSeconds(
  order: Pick<Order, "status" | "expires_at" | "extended_at" | "created_at">,
  { hold_seconds, payment_grace_seconds }: HoldTimes,
): number {
  const all = Math.round((Date.parse(order.expires_at) - Date.parse(order.created_at)) / 1000);
  // A payment that began early found more time than the grace, and extended nothing.
  const unpaid = order.extended_at ? 2 * hold_seconds : hold_seconds;
  return order.status === "pending" || all <= unpaid ? all : payment_grace_seconds;
}

export type Urgency = "calm" | "soon" | "last" | "over";

/** "soon" from 30 seconds on, "last" from 10 seconds on. */
export function urgencyOf(seconds: number): Urgency {
  if (seconds > 30) return "calm";
  if (seconds > 10) return "soon";
  return seconds > 0 ? "last" : "over";
}
