// Saves the sales of the filters, or all, as a CSV file of the chosen type. Its columns are for
// programs, so their names are not translated.
import { type SyntheticEvent, useRef, useState } from "react";

import { majorUnits } from "../shared/amounts";
import { getAll } from "../shared/api";
import type { Sale, Show } from "../shared/api-types";
import { text } from "../shared/texts";
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

interface ExportButtonProps {
  feed: SalesFeed;
  /** The filters of the page, in words. */
  filters: string;
}

export function ExportButton({ feed, filters }: ExportButtonProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [type, setType] = useState(() => usualFileType());
  const [isWhole, setIsWhole] = useState(false);
  const [busy, setBusy] = useState(false);
  const save = async (event: SyntheticEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      const sales = await getAll("/api/sales", {
        query: isWhole ? {} : feed.query,
        pages: MAX_PAGES,
      });
      const shows = feed.shows.value;
      const lines = sales.map((sale) => lineOf(sale, shows.get(sale.show_id)));
      download(`gittix-sales-${readersDay(Date.now())}.csv`, csv([HEAD, ...lines], type));
      dialog.current?.close();
    } catch {
      toast(text("desk.export_failed"));
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" className="button quiet" onClick={() => dialog.current?.showModal()}>
        {text("desk.export")}
      </button>
      <dialog ref={dialog} className="card export" aria-labelledby="export-title">
        <form onSubmit={save}>
          <h2 id="export-title">{text("desk.export_title")}</h2>
          <fieldset>
            <legend>{text("desk.export_which")}</legend>
            {[false, true].map((whole) => (
              <label key={String(whole)}>
                <input
                  type="radio"
                  name="export-which"
                  checked={isWhole === whole}
                  onChange={() => {
                    setIsWhole(whole);
                  }}
                />
                {whole ? text("desk.export_all") : filters}
              </label>
            ))}
          </fieldset>
          <fieldset>
            <legend>{text("desk.file_type")}</legend>
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
                {text(each.label)}
              </label>
            ))}
          </fieldset>
          <div className="export-actions">
            <button type="button" className="button quiet" onClick={() => dialog.current?.close()}>
              {text("desk.cancel")}
            </button>
            <button type="submit" className="button primary" disabled={busy}>
              {text(busy ? "shared.one_moment" : "desk.save_file")}
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
