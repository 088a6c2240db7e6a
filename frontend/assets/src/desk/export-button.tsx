// Saves all sales as a CSV file of the chosen type.
import { type SyntheticEvent, useRef, useState } from "react";

import { majorUnits } from "../shared/amounts";
import { getAll } from "../shared/api";
import type { Sale, Show } from "../shared/api-types";
import { readersDay } from "../shared/time-zones";
import { toast } from "../shared/ui/toasts";
import { type Cell, csv, Decimal, download, FILE_TYPES, usualFileType } from "./csv";
import type { SalesFeed } from "./sales-feed";

const MAX_PAGES = 1000;
const HEAD = [
  "order number",
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
  const dialog = useRef<HTMLDialogElement>(null);
  const [type, setType] = useState(() => usualFileType());
  const [busy, setBusy] = useState(false);
  const save = async (event: SyntheticEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      const sales = await getAll("/api/sales", { pages: MAX_PAGES });
      const shows = feed.shows.value;
      const lines = sales.map((sale) => lineOf(sale, shows.get(sale.show_id)));
      download(`gittix-sales-${readersDay(Date.now())}.csv`, csv([HEAD, ...lines], type));
      dialog.current?.close();
    } catch {
      toast("The sales could not be read. Try again.");
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" className="button quiet" onClick={() => dialog.current?.showModal()}>
        Export CSV
      </button>
      <dialog ref={dialog} className="card export" aria-labelledby="export-title">
        <form onSubmit={save}>
          <h2 id="export-title">Export all sales</h2>
          <fieldset>
            <legend>What your spreadsheet expects</legend>
            {FILE_TYPES.map((each) => (
              <label key={each.id}>
                <input
                  type="radio"
                  name="file-type"
                  value={each.id}
                  checked={type === each}
                  onChange={() => {
                    setType(each);
                  }}
                />
                {each.label}
              </label>
            ))}
          </fieldset>
          <div className="export-actions">
            <button type="button" className="button quiet" onClick={() => dialog.current?.close()}>
              Cancel
            </button>
            <button type="submit" className="button primary" disabled={busy}>
              {busy ? "One moment" : "Save file"}
            </button>
          </div>
        </form>
      </dialog>
    </>
  );
}

function lineOf(sale: Sale, show: Show | undefined): Cell[] {
  return [
    sale.order_number,
    sale.order_id,
    sale.ticket_id,
    show?.title,
    show?.city,
    sale.section,
    sale.row,
    sale.seat,
    sale.title,
    new Decimal(majorUnits(sale.price, sale.currency)),
    sale.currency,
    sale.status,
    sale.created_at,
    sale.updated_at,
  ];
}
