// Whether tickets of a show are still sold at this moment, by the server's clock.
import type { Show } from "./api-types";
import { serverNow } from "./clock";

const HOUR_MS = 3_600_000;
/** A show whose end is not known is called over this long after its start. */
const USUAL_LENGTH_MS = 12 * HOUR_MS;

/**
 * "ended": sales ended before the start. "started": the show has started, and may still run.
 * "postponed" and "cancelled": its owner has decided so. The page asks again each second, so a
 * show's row need not be read again.
 */
export type Sales = "open" | "ended" | "started" | "over" | "postponed" | "cancelled";

type ShowTimes = Pick<Show, "starts_at" | "ends_at" | "sales_end_at" | "status">;

export function salesOf(show: ShowTimes): Sales {
  if (show.status === "postponed" || show.status === "cancelled") return show.status;
  const now = serverNow();
  if (Date.parse(show.sales_end_at) > now) return "open";
  const start = Date.parse(show.starts_at);
  if (start > now) return "ended";
  const end = show.ends_at ? Date.parse(show.ends_at) : start + USUAL_LENGTH_MS;
  return end > now ? "started" : "over";
}
