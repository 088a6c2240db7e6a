// A show that has moved since an order was placed, or is called off, as it is now.
import type { OrderRow } from "../push-messages";
import { placeText } from "../shows-by-id";
import { text } from "../texts";

/** Nothing for a show that is as it was bought. */
export function ShowChange({ order, showId }: { order: OrderRow; showId: string }) {
  const now = order.show_changed?.[showId];
  if (!now) return null;
  return (
    <p className="notice show-change" role="status" data-show-change={showId}>
      {now.status === "cancelled" && text("shared.show_cancelled")}
      {now.status === "postponed" && text("shared.show_postponed")}
      {now.status === "on_sale" && text("shared.show_changed", { now: placeText(now) })}
    </p>
  );
}
