// Saves all sales as a CSV file.
import { useState } from "react";

import { majorUnits } from "../shared/amounts";
import { getAll } from "../shared/api";
import type { Sale, Show } from "../shared/api-types";
import { readersDay } from "../shared/time-zones";
import { toast } from "../shared/ui/toasts";
import { type Cell, csv, download } from "./csv";
import type { SalesFeed } from "./sales-feed";

const MAX_PAGES = 1000;
const HEAD = [
  "order",
  "ticket",
  "show",
  "city",
  "section",
  "row",
  "seat",
  "title",
  "price",
  "currency",
  "status",
  "held at",
  "changed at",
];

export function ExportButton({ feed }: { feed: SalesFeed }) {
  const [busy, setBusy] = useState(false);
  const save = async () => {
    setBusy(true);
    try {
      const sales = await getAll("/api/sales", { pages: MAX_PAGES });
      const shows = feed.shows.value;
      const lines = sales.map((sale) => lineOf(sale, shows.get(sale.show_id)));
      download(`gittix-sales-${readersDay(Date.now())}.csv`, csv([HEAD, ...lines]));
    } catch {
      toast("The sales could not be read. Try again.");
    }
    setBusy(false);
  };
  return (
    <button type="button" className="button quiet" disabled={busy} onClick={save}>
      {busy ? "One moment" : "Export CSV"}
    </button>
  );
}

function lineOf(sale: Sale, show: Show | undefined): Cell[] {
  return [
    sale.order_id,
    sale.ticket_id,
    show?.title,
    show?.city,
    sale.section,
    sale.row,
    sale.seat,
    sale.title,
    majorUnits(sale.price, sale.currency),
    sale.currency,
    sale.status,
    sale.created_at,
    sale.updated_at,
  ];
}
