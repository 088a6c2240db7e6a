// A buyer's own refund, where the shop allows it for a while. The API decides; this only asks.
import { useRef, useState } from "react";

import { Attempt, post } from "./api.js";
import { serverNow } from "./clock.js";
import { money } from "./format.js";
import { toast } from "./toasts.jsx";

const REFUSALS = {
  refund_not_allowed: "The time for a refund is over.",
  refund_refused: "The bank did not take the money back. Nothing has changed.",
  offline: "No connection to the shop. Try again: it is refunded once.",
};

export function Refund({ order, feed, facts }) {
  const [asked, setAsked] = useState(false);
  const [busy, setBusy] = useState(false);
  const attempt = useRef(new Attempt());
  // Paid later than ordered, so this is never too early an end by more than a hold.
  const until = Date.parse(order.expires_at) + facts.refund_window_seconds * 1000;
  if (!facts.refund_window_seconds || until < serverNow()) return null;

  const refund = async () => {
    setBusy(true);
    try {
      await attempt.current.make(order.id, (key) => post(`/api/orders/${order.id}/refund`, {}, { key }));
    } catch (fault) {
      toast(REFUSALS[fault.code] ?? fault.message);
    }
    await feed.again();
    setBusy(false);
    setAsked(false);
  };
  if (!asked) {
    return (
      <button type="button" className="button quiet" onClick={() => setAsked(true)}>
        Refund
      </button>
    );
  }
  return (
    <button type="button" className="button primary" onClick={refund} disabled={busy}>
      {busy ? "One moment" : `Yes, refund ${money(order.total, order.currency)}`}
    </button>
  );
}
