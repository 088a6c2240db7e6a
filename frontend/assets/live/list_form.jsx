// Putting tickets on sale: one, or a whole block, with a look at what they will be before they are.
import { useMemo, useState } from "react";

import { Field } from "./account.jsx";
import { post } from "./api.js";
import { money } from "./format.js";
import { FormProblem, keyFor, refuse, useForm } from "./forms.jsx";
import { amountsOf, PriceFields, pricesReworded } from "./prices.jsx";
import { labelsOf, MOST_TICKETS } from "./seats.js";
import { toast } from "./toasts.jsx";

const FIELDS = ["section", "rows", "seats", "count", "price", "currency", "face_value"];
// The API takes 500, and a body of a certain size.
const BATCH = 200;
const DRAWN = { rows: 12, seats: 30 };

export function ListForm({ show, seller, mine, listed }) {
  const name = `${seller.id}:tickets:${show.id}`;
  const [done, setDone] = useState(0);
  const last = mine.at(-1);
  const blank = { kind: "seats", section: "", rows: "", seats: "", count: "1", price: "", currency: last?.currency ?? show.currency ?? "EUR", face_value: "" };
  const form = useForm(name, blank, async (values) => {
    const { specs, problems } = planOf(values);
    refuse(problems);
    await pricesReworded(values.currency, () => listAll(show.id, specs, keyFor(name, values), (items, count) => (setDone(count), listed(items))));
    // The next block of the same show is much like this one.
    const { kind, section, price, currency, face_value } = values;
    form.reset({ kind, section, price, currency, face_value });
    toast(specs.length === 1 ? "The ticket is on sale." : `${specs.length} tickets are on sale.`);
  });
  const { values, set, field, busy, problem } = form;
  const plan = useMemo(() => planOf(values), FIELDS.concat("kind").map((each) => values[each]));
  const seated = values.kind === "seats";
  return (
    <form className="card form list-form" {...form.form} aria-labelledby="list-title">
      <h2 className="section-title" id="list-title">
        List tickets
      </h2>
      <FormProblem problem={problem} fields={FIELDS} />
      {done > 0 && problem && <p className="note">{done} of them are on sale. List again for the rest: nothing is listed twice.</p>}
      <div className="either" role="group" aria-label="Places">
        <Kind is="seats" words="Seats" chosen={values.kind} set={set} />
        <Kind is="standing" words="No seats" chosen={values.kind} set={set} />
      </div>
      <Field {...field("section")} label="Section" placeholder={seated ? "Balcony" : "Standing"} maxLength={40} autoComplete="off" />
      {seated ? (
        <div className="fields">
          <Field {...field("rows")} label="Rows" placeholder="A–F" autoComplete="off" hint="A–F, or A, C, D" />
          <Field {...field("seats")} label="Seats" placeholder="1–20" autoComplete="off" hint="1–20, or 3, 4, 7" />
        </div>
      ) : (
        <Field {...field("count")} label="How many" inputMode="numeric" autoComplete="off" />
      )}
      <PriceFields field={field} values={values} />
      <Preview plan={plan} values={values} mine={mine} />
      <button className="button primary full" disabled={busy}>
        {busy ? progress(done, plan.specs.length) : plan.specs.length > 1 ? `List ${plan.specs.length} tickets` : "List the ticket"}
      </button>
    </form>
  );
}

function Kind({ is, words, chosen, set }) {
  return (
    <button type="button" className="chip" aria-pressed={chosen === is} onClick={() => set({ kind: is })}>
      {words}
    </button>
  );
}

/** How many, which, and for how much. */
function Preview({ plan, values, mine }) {
  const { specs, rows, seats, price } = plan;
  const count = specs.length;
  const again = repeated(specs, mine);
  return (
    <div className="preview" role="status" aria-label="What you will list" data-count={count}>
      <p>
        <b>{count === 1 ? "1 ticket" : `${count} tickets`}</b>
        {count > 0 && price ? ` at ${money(price, values.currency)}` : ""}
        {count > 1 && price ? <span className="soft"> · {money(count * price, values.currency)} in all</span> : null}
      </p>
      {count > 0 && values.kind === "seats" && <SeatMap rows={rows} seats={seats} />}
      {again > 0 && <p className="note is-held">{again === 1 ? "You list one of them already." : `You list ${again} of them already.`}</p>}
    </div>
  );
}

/** A little plan of the block: a mark for each seat. */
function SeatMap({ rows, seats }) {
  const drawn = seats.slice(0, DRAWN.seats);
  return (
    <ul className="seat-map" aria-hidden="true">
      {rows.slice(0, DRAWN.rows).map((row) => (
        <li key={row}>
          <span className="note">{row}</span>
          {drawn.map((seat) => (
            <i key={seat} />
          ))}
          {seats.length > drawn.length && <span className="note">+{seats.length - drawn.length}</span>}
        </li>
      ))}
      {rows.length > DRAWN.rows && <li className="note">and {rows.length - DRAWN.rows} rows more</li>}
    </ul>
  );
}

/** The tickets that the words of the form mean, and what is wrong with each field. */
function planOf(values) {
  const { amounts, problems } = amountsOf(values);
  const places = values.kind === "seats" ? seatsOf(values, problems) : standingOf(values, problems);
  const offer = { ...amounts, currency: values.currency, section: values.section || null };
  return { ...places, specs: places.specs.map((place) => ({ ...offer, ...place })), price: amounts.price, problems };
}

function seatsOf(values, problems) {
  const labels = (field) => {
    try {
      return labelsOf(values[field]);
    } catch (fault) {
      problems[field] = fault.message;
      return [];
    }
  };
  const [rows, seats] = [labels("rows"), labels("seats")];
  if (!seats.length) problems.seats ??= "say which";
  if (rows.length * seats.length > MOST_TICKETS) problems.seats = `${MOST_TICKETS} tickets at once, at most`;
  if (problems.rows || problems.seats) return { rows: [], seats: [], specs: [] };
  const inRows = rows.length ? rows : [""];
  return { rows: inRows, seats, specs: inRows.flatMap((row) => seats.map((seat) => ({ row: row || null, seat }))) };
}

function standingOf(values, problems) {
  const count = /^\d{1,6}$/.test(values.count.trim()) ? Number(values.count) : 0;
  if (count < 1) problems.count = "a number from 1 on";
  if (count > MOST_TICKETS) problems.count = `${MOST_TICKETS} at once, at most`;
  return { rows: [], seats: [], specs: problems.count ? [] : Array.from({ length: count }, () => ({})) };
}

/** In batches, each under a key of its own: whatever is sent again is not listed again. */
async function listAll(showId, specs, key, listed) {
  for (let start = 0; start < specs.length; start += BATCH) {
    const tickets = specs.slice(start, start + BATCH);
    const { items } = await post(`/api/shows/${showId}/tickets`, { tickets }, { key: `${key}-${start}` });
    listed(items, start + items.length);
  }
}

function repeated(specs, mine) {
  const placeOf = ({ section, row, seat }) => [section, row, seat].map((part) => part?.trim() || "").join("\u0001");
  const taken = new Set(mine.filter(({ row, seat }) => row || seat).map(placeOf));
  return specs.filter((spec) => taken.has(placeOf(spec))).length;
}

function progress(done, whole) {
  return whole > BATCH ? `${done} of ${whole}` : "One moment";
}
