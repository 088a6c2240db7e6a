// Why a payment failed, in words for the buyer.
import type { PaymentRow } from "../shared/push-messages";

/** By Stripe's `decline_code`, else by its error code or the API's. */
const TEXTS: Record<string, string> = {
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

/** A stolen card gets the same text as one that was declined without a reason. */
export function declineText(payment: PaymentRow): string {
  const byDecline = TEXTS[payment.decline_code ?? ""];
  return byDecline ?? TEXTS[payment.failure_code ?? ""] ?? "The bank said no to that card.";
}
