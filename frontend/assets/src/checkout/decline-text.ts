// Why a payment failed, in words for the buyer.
import type { PaymentRow } from "../shared/push-messages";

/** The API gives a reason and no code of a bank: see backend/payments/decline_reasons.py. */
const TEXTS: Record<NonNullable<PaymentRow["reason"]>, string> = {
  details: "The bank did not accept the card's number, date or security code.",
  approval: "The bank did not get your approval. Try again, or use another card.",
  unavailable: "The payment was not finished. Try again in a moment.",
  declined: "The bank said no to that card. Use another card, or ask your bank.",
};

export function declineText(payment: PaymentRow): string {
  return TEXTS[payment.reason ?? "declined"];
}
