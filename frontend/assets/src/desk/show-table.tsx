// The desk's table of shows. A show's name selects it for the whole page.
import { useState } from "react";

import { monthAndDay, money } from "../shared/format";
import { text } from "../shared/texts";
import type { Period } from "./periods";
import type { ShowRow } from "./show-rows";

/** The rows that are shown at first. */
const FEW = 6;

interface ShowTableProps {
  rows: readonly ShowRow[];
  period: Period;
  chosen: string | null;
  /** False when the seller has more tickets than the API counts. */
  isComplete: boolean;
  onChoose: (showId: string | null) => void;
}

export function ShowTable({ rows, period, chosen, isComplete, onChoose }: ShowTableProps) {
  const [all, setAll] = useState(false);
  const shown = all ? rows : rows.slice(0, FEW);
  const inPeriod = { period: text(period.words) };
  return (
    <section className="card panel by-show" aria-labelledby="by-show-title">
      <header>
        <h2 className="section-title" id="by-show-title">
          {text("desk.by_show")}
        </h2>
        {!isComplete && <span className="note">{text("desk.newest_counted")}</span>}
      </header>
      <table className="show-table" aria-labelledby="by-show-title">
        <thead>
          <tr>
            <th scope="col">{text("desk.show")}</th>
            <th scope="col">{text("desk.listed")}</th>
            <th scope="col">{text("desk.free")}</th>
            <th scope="col">{text("desk.held")}</th>
            <th scope="col">{text("desk.sold_in", inPeriod)}</th>
            <th scope="col">{text("desk.refunded_in", inPeriod)}</th>
            <th scope="col">{text("desk.net_in", inPeriod)}</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <Row key={row.id} row={row} isChosen={row.id === chosen} onChoose={onChoose} />
          ))}
        </tbody>
      </table>
      {rows.length > shown.length && (
        <button
          type="button"
          className="button quiet small all-shows"
          onClick={() => {
            setAll(true);
          }}
        >
          {text("desk.all_shows_of", { count: rows.length })}
        </button>
      )}
    </section>
  );
}

interface RowProps {
  row: ShowRow;
  isChosen: boolean;
  onChoose: (showId: string | null) => void;
}

function Row({ row, isChosen, onChoose }: RowProps) {
  const { id, show, listed, free, held, sold, refunded, revenue } = row;
  const [month, day] = show ? monthAndDay(show) : ["", ""];
  const cells = [
    ["listed", text("desk.listed"), listed],
    ["free", text("desk.free"), free],
    ["held", text("desk.held"), held],
    ["sold", text("desk.sold"), sold],
    ["refunded", text("desk.refunded"), refunded],
  ] as const;
  return (
    <tr data-show-row={id} data-chosen={isChosen}>
      <th scope="row">
        <button
          type="button"
          className="link"
          aria-pressed={isChosen}
          onClick={() => {
            onChoose(isChosen ? null : id);
          }}
        >
          {show?.title ?? text("desk.a_show")}
        </button>
        {show && <span className="note">{`${day} ${month} · ${show.venue}, ${show.city}`}</span>}
      </th>
      {cells.map(([name, label, count]) => (
        <td key={name} data-cell={name} data-label={label} className={count ? "" : "soft"}>
          {count}
        </td>
      ))}
      <td data-cell="revenue" data-label={text("desk.net")}>
        {revenue.filter(({ sold: tickets }) => tickets > 0).length === 0 && (
          <span className="soft">–</span>
        )}
        {revenue
          .filter(({ sold: tickets }) => tickets > 0)
          .map(({ currency, amount }) => (
            <b key={currency}>{money(amount, currency)}</b>
          ))}
      </td>
    </tr>
  );
}
