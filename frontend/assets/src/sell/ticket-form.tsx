// Changes one of the seller's tickets, or takes it off sale.
import { useEffect, useRef } from "react";

import { majorUnits } from "../shared/amounts";
import { put, remove } from "../shared/api";
import type { Ticket } from "../shared/api-types";
import { discardDraft, FormProblem, rejectFields, useForm } from "../shared/form";
import { fullName } from "../shared/format";
import { asProblem } from "../shared/http";
import type { ShowFeed } from "../shared/show-feed";
import { text, type TextId } from "../shared/texts";
import type { Availability } from "../shared/tickets";
import { InputField } from "../shared/ui/field";
import { toast } from "../shared/ui/toasts";
import { amountsOf, PriceFields, type PriceValues, withTicketMessages } from "./price-fields";

const FIELDS = ["section", "row", "seat", "price", "currency", "face_value"];

/** Why the seller cannot change it. */
export const LOCKED_TEXTS: Record<Exclude<Availability, "free">, TextId> = {
  held: "sell.locked_held",
  paying: "sell.locked_paying",
  sold: "sell.locked_sold",
};

interface TicketFormProps {
  ticket: Ticket;
  availability: Availability;
  sellerId: string;
  feed: ShowFeed;
  close: () => void;
}

export function TicketForm(props: TicketFormProps) {
  return (
    <div className="ticket-form">
      <ChangeForm {...props} />
      <WithdrawalForm {...props} />
    </div>
  );
}

interface TicketValues extends PriceValues {
  section: string;
  row: string;
  seat: string;
}

function ChangeForm({ ticket, availability, sellerId, feed, close }: TicketFormProps) {
  const name = changeFormName(sellerId, ticket);
  const form = useForm(name, valuesOf(ticket), async (values, { reset }) => {
    const { amounts, messages } = amountsOf(values);
    rejectFields(messages);
    const { section, row, seat, currency } = values;
    const body = { ...amounts, currency, section, row, seat };
    const options = { params: { id: ticket.id }, tag: tagOf(ticket) };
    const changed = await readingConflicts(feed, () =>
      withTicketMessages(currency, "seat", () => put("/api/tickets/{id}", body, options)),
    );
    feed.tickets.apply(changed);
    reset();
    toast(text("sell.changed", { name: fullName(ticket) }));
    close();
  });
  const { values, field, busy, problem } = form;
  return (
    <form className="form" {...form.form} aria-label={fullName(ticket)}>
      <FormProblem problem={problem} fields={FIELDS} />
      {availability !== "free" && (
        <p className="notice" role="status">
          {`${text(LOCKED_TEXTS[availability])} ${text("sell.typed_kept")}`}
        </p>
      )}
      <div className="fields thirds">
        <InputField
          {...field("section")}
          label={text("sell.section")}
          maxLength={40}
          autoComplete="off"
        />
        <InputField {...field("row")} label={text("sell.row")} maxLength={40} autoComplete="off" />
        <InputField
          {...field("seat")}
          label={text("sell.seat")}
          maxLength={40}
          autoComplete="off"
        />
      </div>
      <PriceFields field={field} values={values} />
      <div className="form-actions">
        <button className="button" disabled={busy || availability !== "free"}>
          {text(busy ? "shared.one_moment" : "sell.save")}
        </button>
      </div>
    </form>
  );
}

function WithdrawalForm({ ticket, availability, sellerId, feed }: TicketFormProps) {
  const form = useForm(
    `${sellerId}:withdrawal:${ticket.id}`,
    { sure: false },
    async (_, { reset }) => {
      const options = { params: { id: ticket.id }, tag: tagOf(ticket) };
      await readingConflicts(feed, () => remove("/api/tickets/{id}", options));
      reset();
      discardDraft(changeFormName(sellerId, ticket));
      feed.tickets.applyKnown({
        id: ticket.id,
        status: "withdrawn",
        version: ticket.version + 1,
      });
      toast(text("sell.off_sale", { name: fullName(ticket) }));
    },
  );
  const { values, busy, problem } = form;
  const locked = availability !== "free";
  const harmless = useFocusAfterSwitch(values.sure);
  return (
    <form className="withdraw" {...form.form} aria-label={text("sell.take_off")}>
      <FormProblem problem={problem} fields={[]} />
      {values.sure ? (
        <>
          <p>{text("sell.take_off_note")}</p>
          <button className="button danger" disabled={busy || locked}>
            {text("sell.take_off")}
          </button>
          <button
            ref={harmless}
            type="button"
            className="button quiet"
            onClick={() => {
              form.reset();
            }}
          >
            {text("sell.keep")}
          </button>
        </>
      ) : (
        <button
          ref={harmless}
          type="button"
          className="button quiet"
          disabled={locked}
          onClick={() => {
            form.set({ sure: true });
          }}
        >
          {text("sell.withdraw")}
        </button>
      )}
    </form>
  );
}

/** The ref of the button that has the focus after a change of `value` removed the focused one. */
function useFocusAfterSwitch(value: boolean) {
  const button = useRef<HTMLButtonElement>(null);
  const before = useRef(value);
  useEffect(() => {
    const lost = document.activeElement === null || document.activeElement === document.body;
    if (before.current !== value && lost) button.current?.focus();
    before.current = value;
  }, [value]);
  return button;
}

export function changeFormName(sellerId: string, ticket: Ticket): string {
  return `${sellerId}:ticket:${ticket.id}`;
}

function valuesOf(ticket: Ticket): TicketValues {
  const { section, row, seat, price, currency, face_value } = ticket;
  return {
    section: section ?? "",
    row: row ?? "",
    seat: seat ?? "",
    price: majorUnits(price, currency),
    currency,
    face_value: face_value ? majorUnits(face_value, currency) : "",
  };
}

/** The API changes only this version. */
function tagOf(ticket: Ticket): string {
  return `"${ticket.version}"`;
}

/**
 * After a conflict the tickets are read again, so that the next try is based on the present ones.
 */
async function readingConflicts<T>(feed: ShowFeed, request: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (error) {
    const { status } = asProblem(error);
    if (status === 409 || status === 412) await feed.refresh();
    throw error;
  }
}
