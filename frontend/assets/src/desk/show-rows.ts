// The rows of the desk's table of shows: the tickets of each show now, and its sales in a period.
import type { OwnTicketCounts, SalesByShow, Show, Takings } from "../shared/api-types";

export interface ShowRow {
  id: string;
  show: Show | undefined;
  /** Now. */
  listed: number;
  free: number;
  held: number;
  /** In the period. */
  sold: number;
  refunded: number;
  revenue: readonly Takings[];
}

const NO_TICKETS = { listed: 0, free: 0, held: 0 };
const NO_SALES = { sold: 0, refunded: 0, revenue: [] };

/** Those with most sales first, then by their start. */
export function showRowsOf(
  counts: OwnTicketCounts["items"],
  sales: SalesByShow["items"],
  shows: ReadonlyMap<string, Show>,
): ShowRow[] {
  const countsById = new Map(counts.map((each) => [each.show_id, each]));
  const salesById = new Map(sales.map((each) => [each.show_id, each]));
  const ids = new Set([...salesById.keys(), ...countsById.keys()]);
  const rows = [...ids].map((id): ShowRow => {
    const { listed, free, held } = countsById.get(id) ?? NO_TICKETS;
    const { sold, refunded, revenue } = salesById.get(id) ?? NO_SALES;
    return { id, show: shows.get(id), listed, free, held, sold, refunded, revenue };
  });
  const startOf = ({ show }: ShowRow) => show?.starts_at ?? "";
  return rows.sort(
    (one, other) => other.sold - one.sold || startOf(one).localeCompare(startOf(other)),
  );
}
