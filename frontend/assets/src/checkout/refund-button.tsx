// A refund by the buyer, where the shop allows it for some time. The API decides.
import { useState } from "react";

import { post } from "../shared/api";
import { serverNow } from "../shared/clock";
import { money } from "../shared/format";
import { asProblem, type Problem } from "../shared/http";
import { IdempotentRequest } from "../shared/idempotency";
import { pastOutageText } from "../shared/outage";
import type { OrderRow } from "../shared/push-messages";
import type { SiteConfig } from "../shared/site-config";
import { text, type TextId } from "../shared/texts";
import { toast } from "../shared/ui/toasts";
import type { CheckoutFeed } from "./checkout-feed";

const REFUSALS: Partial<Record<string, TextId>> = {
  refund_not_allowed: "checkout.refund_over",
  refund_refused: "checkout.refund_refused",
};

function refusalText({ code, message, outage }: Problem): string {
  if (outage) return text("checkout.refund_outage", { outage: pastOutageText(outage) });
  return REFUSALS[code] ? text(REFUSALS[code]) : message;
}

interface RefundButtonProps {
  order: OrderRow;
  feed: CheckoutFeed;
  config: SiteConfig;
}

export function RefundButton({ order, feed, config }: RefundButtonProps) {
  const [asked, setAsked] = useState(false);
  const [busy, setBusy] = useState(false);
  const [request] = useState(() => new IdempotentRequest());
  // The window begins with the payment, before `expires_at`, so the button is never removed while
  // the window is open. After it, the API refuses.
  const until = Date.parse(order.expires_at) + config.refund_window_seconds * 1000;
  if (!config.refund_window_seconds || until < serverNow()) return null;

  const refund = async () => {
    setBusy(true);
    try {
      await request.make(order.id, (idempotencyKey) =>
        post("/api/orders/{id}/refund", {}, { params: { id: order.id }, idempotencyKey }),
      );
    } catch (error) {
      toast(refusalText(asProblem(error)));
    }
    await feed.refresh();
    setBusy(false);
    setAsked(false);
  };
  if (!asked) {
    return (
      <button
        type="button"
        className="button quiet"
        onClick={() => {
          setAsked(true);
        }}
      >
        {text("checkout.refund")}
      </button>
    );
  }
  return (
    <button type="button" className="button primary" onClick={refund} disabled={busy}>
      {busy
        ? text("checkout.refund_busy")
        : text("checkout.refund_confirm", { amount: money(order.total, order.currency) })}
    </button>
  );
}
