// The button and the key by which a buyer that needs more time extends the hold, once.
import { useState } from "react";
import { Link } from "react-router";

import { post } from "../shared/api";
import { asProblem } from "../shared/http";
import { IdempotentRequest } from "../shared/idempotency";
import { useValue } from "../shared/observable";
import { isHeld, type RunningStage } from "../shared/order-status";
import type { OrderRow } from "../shared/push-messages";
import { user } from "../shared/session";
import { richText, text, type TextId } from "../shared/texts";
import { useKey } from "../shared/use-key";
import type { CheckoutFeed } from "./checkout-feed";
import { secondsText } from "./countdown";

interface MoreTimeProps {
  order: OrderRow;
  stage: RunningStage;
  feed: CheckoutFeed;
}

export function MoreTime({ order, stage, feed }: MoreTimeProps) {
  const needs = useValue(user)?.needs_more_time;
  const { busy, refusal, extend } = useExtension(order, feed);
  const extendable = extendableSeconds(order, needs);
  const possible = extendable > 0 && stage === "choosing" && !busy;
  useKey(text("shared.more_time_key"), () => {
    if (possible) void extend();
  });
  const extended = extendedSeconds(order);
  // Once the time is added the button stays, because it has the focus.
  const label = extended
    ? text("checkout.more_time_added", { time: secondsText(extended) })
    : text("checkout.more_time", { time: secondsText(extendable) });
  if (!needs || extended + extendable === 0) return null;
  return (
    <section className="more-time" aria-label={text("checkout.more_time_region")}>
      <button
        type="button"
        className="button"
        aria-disabled={!possible}
        aria-keyshortcuts={possible ? text("shared.more_time_key") : undefined}
        onClick={() => {
          if (possible) void extend();
        }}
      >
        {label}
      </button>
      {extended === 0 && <KeyNote />}
      {refusal && (
        <p className="notice" role="alert">
          {refusal}
        </p>
      )}
    </section>
  );
}

function KeyNote() {
  return (
    <span className="note">
      {richText("checkout.more_time_key", {
        name: text("shared.more_time_key"),
        key: (content) => <kbd>{content}</kbd>,
      })}
    </span>
  );
}

/** For a buyer without the setting: where it is. */
export function MoreTimeHint({ stage }: { stage: RunningStage }) {
  const known = useValue(user);
  if (!known || known.needs_more_time || stage !== "choosing") return null;
  return (
    <p className="note pay-or">
      {richText("checkout.more_time_ask", {
        link: (content) => <Link to="/account">{content}</Link>,
      })}
    </p>
  );
}

type Extendable = Pick<OrderRow, "status" | "created_at" | "expires_at" | "extended_at">;

/** By how much the buyer can extend the hold now: by its own length, or 0. */
export function extendableSeconds(order: Extendable, needs: boolean | undefined): number {
  if (!needs || order.status !== "pending" || order.extended_at || !isHeld(order)) return 0;
  return lengthOf(order);
}

/** By how much the buyer has extended the hold, before any payment of it began. */
export function extendedSeconds(order: Extendable): number {
  return order.status === "pending" && order.extended_at ? lengthOf(order) / 2 : 0;
}

const lengthOf = ({ created_at, expires_at }: Extendable) =>
  Math.round((Date.parse(expires_at) - Date.parse(created_at)) / 1000);

const REFUSALS: Partial<Record<string, TextId>> = {
  cooling_down: "checkout.more_time_cooling",
  sales_ended: "checkout.more_time_sales_ended",
};
/** The page shows these by the order itself. */
const SHOWN = new Set(["already_extended", "order_not_extendable"]);

function useExtension(order: OrderRow, feed: CheckoutFeed) {
  const [request] = useState(() => new IdempotentRequest());
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<string | null>(null);
  const extend = async () => {
    setBusy(true);
    setRefusal(null);
    try {
      const extended = await request.make(order.id, (idempotencyKey) =>
        post("/api/orders/{id}/extend", undefined, { params: { id: order.id }, idempotencyKey }),
      );
      feed.orders.apply(extended);
    } catch (error) {
      const { code } = asProblem(error);
      if (!SHOWN.has(code)) setRefusal(text(REFUSALS[code] ?? "checkout.more_time_failed"));
      await feed.refresh();
    } finally {
      setBusy(false);
    }
  };
  return { busy, refusal, extend };
}
