// Why a payment failed, in words for the buyer.
import type { PaymentRow } from "../shared/push-messages";
import { text, type TextId } from "../shared/texts";

/** The API gives a reason and no code of a bank: see backend/payments/decline_reasons.py. */
const TEXTS: Record<NonNullable<PaymentRow["reason"]>, TextId> = {
  details: "checkout.declined_details",
  approval: "checkout.declined_approval",
  unavailable: "checkout.declined_unavailable",
  declined: "checkout.declined_declined",
};

export function declineText(payment: PaymentRow): string {
  return text(TEXTS[payment.reason ?? "declined"]);
}
