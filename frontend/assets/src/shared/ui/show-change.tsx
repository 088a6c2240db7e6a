// A show that has moved since an order was placed, as it is now.
import { showTime } from "../format";
import type { OrderRow } from "../push-messages";
import { text } from "../texts";

/** Nothing for a show that has not moved. */
export function ShowChange({ order, showId }: { order: OrderRow; showId: string }) {
  const now = order.show_changed?.[showId];
  if (!now) return null;
  return (
    <p className="notice show-change" role="status" data-show-change={showId}>
      {text("shared.show_changed", { now: `${showTime(now)} · ${now.venue}, ${now.city}` })}
    </p>
  );
}
