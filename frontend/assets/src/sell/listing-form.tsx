// Puts tickets on sale, one or a whole block, with a preview of them.
import { useMemo, useState } from "react";

import { post } from "../shared/api";
import type { Show, Ticket, TicketSpec, User } from "../shared/api-types";
import { type Form, FormProblem, keyFor, rejectFields, useForm } from "../shared/form";
import { money } from "../shared/format";
import { text } from "../shared/texts";
import { InputField } from "../shared/ui/field";
import { toast } from "../shared/ui/toasts";
import { type ListingPlan, listingPlan, type ListingValues, repeatedSeats } from "./listing-plan";
import { PriceFields, withTicketMessages } from "./price-fields";

const FIELDS = ["section", "rows", "seats", "count", "price", "currency", "face_value"];
// The API takes 500 tickets in a request, in a body of 256 KiB.
const BATCH_SIZE = 200;
const MAX_DRAWN = { rows: 12, seats: 30 };

export interface ListingProps {
  show: Show;
  seller: User;
  /** The seller's tickets of this show. */
  listed: readonly Ticket[];
  onListed: (tickets: readonly Ticket[]) => void;
}

export function ListingForm({ show, seller, listed, onListed }: ListingProps) {
  const name = `${seller.id}:tickets:${show.id}`;
  const [done, setDone] = useState(0);
  const currency = listed.at(-1)?.currency ?? show.currency ?? "EUR";
  const form = useForm<ListingValues>(name, blank(currency), async (values, { reset }) => {
    const { specs, messages } = listingPlan(values);
    rejectFields(messages);
    await withTicketMessages(values.currency, "seats", () =>
      postInBatches(show.id, specs, keyFor(name, values), (tickets, count) => {
        setDone(count);
        onListed(tickets);
      }),
    );
    // The next block of the same show is much like this one.
    const { kind, section, price, face_value } = values;
    reset({ kind, section, price, currency: values.currency, face_value });
    toast(text("sell.on_sale", { count: specs.length }));
  });
  const { values, field, busy, problem } = form;
  const plan = usePlan(values);
  return (
    <form className="card form list-form" {...form.form} aria-labelledby="list-title">
      <h2 className="section-title" id="list-title">
        {text("sell.list_tickets")}
      </h2>
      <FormProblem problem={problem} fields={FIELDS} />
      {done > 0 && problem && <p className="note">{text("sell.part_on_sale", { done })}</p>}
      <PlaceFields form={form} />
      <PriceFields field={field} values={values} />
      <Preview plan={plan} values={values} listed={listed} />
      <button className="button primary full" disabled={busy}>
        {busy ? progressText(done, plan.specs.length) : buttonText(plan.specs.length)}
      </button>
    </form>
  );
}

function blank(currency: string): ListingValues {
  const seats = { section: "", rows: "", seats: "", count: "1" };
  return { kind: "seats", ...seats, price: "", currency, face_value: "" };
}

/**
 * Computed when a value changes: a block may have 2,000 seats, and the page renders each second.
 */
function usePlan(values: ListingValues): ListingPlan {
  const content = JSON.stringify(values);
  return useMemo(() => listingPlan(JSON.parse(content) as ListingValues), [content]);
}

function PlaceFields({ form: { field, values, set } }: { form: Form<ListingValues> }) {
  const seated = values.kind === "seats";
  const kind = (value: ListingValues["kind"], label: string) => (
    <button
      type="button"
      className="chip"
      aria-pressed={values.kind === value}
      onClick={() => {
        set({ kind: value });
      }}
    >
      {label}
    </button>
  );
  return (
    <>
      <div className="either" role="group" aria-label={text("sell.places")}>
        {kind("seats", text("sell.seats"))}
        {kind("standing", text("sell.no_seats"))}
      </div>
      <InputField
        {...field("section")}
        label={text("sell.section")}
        placeholder={seated ? text("sell.section_seated") : text("sell.section_standing")}
        maxLength={40}
        autoComplete="off"
      />
      {seated ? (
        <div className="fields">
          <InputField
            {...field("rows")}
            label={text("sell.rows")}
            placeholder={text("sell.rows_example")}
            autoComplete="off"
            hint={text("sell.rows_hint")}
          />
          <InputField
            {...field("seats")}
            label={text("sell.seats")}
            placeholder={text("sell.seats_example")}
            autoComplete="off"
            hint={text("sell.seats_hint")}
          />
        </div>
      ) : (
        <InputField
          {...field("count")}
          label={text("sell.how_many")}
          inputMode="numeric"
          autoComplete="off"
        />
      )}
    </>
  );
}

interface PreviewProps {
  plan: ListingPlan;
  values: ListingValues;
  listed: readonly Ticket[];
}

function Preview({ plan, values, listed }: PreviewProps) {
  const { specs, rows, seats, price } = plan;
  const count = specs.length;
  const repeated = repeatedSeats(specs, listed);
  return (
    <div className="preview" role="status" aria-label={text("sell.preview")} data-count={count}>
      <p>
        <b>{text("sell.count", { count })}</b>
        {count > 0 && price
          ? ` ${text("sell.at_price", { price: money(price, values.currency) })}`
          : ""}
        {count > 1 && price ? (
          <span className="soft">
            {` · ${text("sell.in_all", { amount: money(count * price, values.currency) })}`}
          </span>
        ) : null}
      </p>
      {count > 0 && values.kind === "seats" && <SeatMap rows={rows} seats={seats} />}
      {repeated > 0 && <p className="note is-held">{text("sell.repeated", { repeated })}</p>}
    </div>
  );
}

/** A mark for each seat of the block. */
function SeatMap({ rows, seats }: { rows: readonly string[]; seats: readonly string[] }) {
  const drawn = seats.slice(0, MAX_DRAWN.seats);
  return (
    <ul className="seat-map" aria-hidden="true">
      {rows.slice(0, MAX_DRAWN.rows).map((row) => (
        <li key={row}>
          <span className="note">{row}</span>
          {drawn.map((seat) => (
            <i key={seat} />
          ))}
          {seats.length > drawn.length && (
            <span className="note">+{seats.length - drawn.length}</span>
          )}
        </li>
      ))}
      {rows.length > MAX_DRAWN.rows && (
        <li className="note">{text("sell.more_rows", { count: rows.length - MAX_DRAWN.rows })}</li>
      )}
    </ul>
  );
}

/** Each batch has an idempotency key of its own, so that a repeat lists no ticket twice. */
async function postInBatches(
  showId: string,
  specs: readonly TicketSpec[],
  key: string,
  onBatch: (tickets: Ticket[], count: number) => void,
): Promise<void> {
  for (let start = 0; start < specs.length; start += BATCH_SIZE) {
    const { items } = await post(
      "/api/shows/{id}/tickets",
      { tickets: specs.slice(start, start + BATCH_SIZE) },
      { params: { id: showId }, idempotencyKey: `${key}-${start}` },
    );
    onBatch(items, start + items.length);
  }
}

function buttonText(count: number): string {
  return text("sell.list_count", { count });
}

function progressText(done: number, all: number): string {
  return all > BATCH_SIZE ? text("sell.progress", { done, all }) : text("shared.one_moment");
}
