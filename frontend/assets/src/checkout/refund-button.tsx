// A refund by the buyer, where the shop allows it for some time, and the return of tickets whose
// show was called off or moved. The API decides.
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
  // The window begins with the payment, before `expires_at`, so the button is never removed while
  // the window is open. After it, the API refuses.
  const until = Date.parse(order.expires_at) + config.refund_window_seconds * 1000;
  const isOpen = config.refund_window_seconds > 0 && until >= serverNow();
  const sold = order.tickets.filter(({ status }) => status === "sold");
  const returnable = sold.filter(({ id }) => order.returnable?.includes(id));
  if (returnable.length > 0) {
    const ask = text("checkout.return", { count: returnable.length });
    return <Refund order={order} feed={feed} lines={returnable} ask={ask} isReturn />;
  }
  if (!isOpen || sold.length === 0) return null;
  return <Refund order={order} feed={feed} lines={sold} ask={text("checkout.refund")} />;
}

interface RefundProps {
  order: OrderRow;
  feed: CheckoutFeed;
  lines: OrderRow["tickets"];
  ask: string;
  isReturn?: boolean;
}

function Refund({ order, feed, lines, ask, isReturn = false }: RefundProps) {
  const [asked, setAsked] = useState(false);
  const [busy, setBusy] = useState(false);
  const [request] = useState(() => new IdempotentRequest());
  const ids = lines.map(({ id }) => id);
  const amount = money(sumOf(lines), order.currency);

  const refund = async () => {
    setBusy(true);
    try {
      await request.make(`${order.id} ${ids.join(" ")}`, (idempotencyKey) =>
        post(
          "/api/orders/{id}/refund",
          { lines: ids },
          { params: { id: order.id }, idempotencyKey },
        ),
      );
    } catch (error) {
      const problem = asProblem(error);
      const isOver = isReturn && problem.code === "refund_not_allowed";
      toast(isOver ? text("checkout.return_over") : refusalText(problem));
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
        {ask}
      </button>
    );
  }
  return (
    <button type="button" className="button primary" onClick={refund} disabled={busy}>
      {busy
        ? text("checkout.refund_busy")
        : text(isReturn ? "checkout.return_confirm" : "checkout.refund_confirm", { amount })}
    </button>
  );
}

/** The amount that a refund of these lines returns. */
function sumOf(lines: OrderRow["tickets"]): number {
  return lines.reduce((sum, { price, fee }) => sum + price + fee, 0);
}
