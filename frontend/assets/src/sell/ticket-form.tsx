// Changes one of the seller's tickets, or takes it off sale.
import { useEffect, useRef } from "react";

import { majorUnits } from "../shared/amounts";
import { put, remove } from "../shared/api";
import type { Ticket } from "../shared/api-types";
import { discardDraft, FormProblem, rejectFields, useForm } from "../shared/form";
import { fullName } from "../shared/format";
import { asProblem } from "../shared/http";
import type { ShowFeed } from "../shared/show-feed";
import type { Availability } from "../shared/tickets";
import { InputField } from "../shared/ui/field";
import { toast } from "../shared/ui/toasts";
import { amountsOf, PriceFields, type PriceValues, withTicketMessages } from "./price-fields";

const FIELDS = ["section", "row", "seat", "price", "currency", "face_value"];

/** Why the seller cannot change it. */
export const LOCKED_TEXTS: Record<Exclude<Availability, "free">, string> = {
  held: "It stays as it is while somebody holds it.",
  paying: "It stays as it is while it is being paid for.",
  sold: "A buyer has it, so it stays as it is.",
};

interface TicketFormProps {
  ticket: Ticket;
  availability: Availability;
  sellerId: string;
  feed: ShowFeed;
  close: () => void;
  /** Moves the focus out of the row, which is about to go. */
  leave: () => void;
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
    toast(`${fullName(ticket)} is changed.`);
    close();
  });
  const { values, field, busy, problem } = form;
  return (
    <form className="form" {...form.form} aria-label={fullName(ticket)}>
      <FormProblem problem={problem} fields={FIELDS} />
      {availability !== "free" && (
        <p className="notice" role="status">
          {LOCKED_TEXTS[availability]} What you typed is kept.
        </p>
      )}
      <div className="fields thirds">
        <InputField {...field("section")} label="Section" maxLength={40} autoComplete="off" />
        <InputField {...field("row")} label="Row" maxLength={40} autoComplete="off" />
        <InputField {...field("seat")} label="Seat" maxLength={40} autoComplete="off" />
      </div>
      <PriceFields field={field} values={values} />
      <div className="form-actions">
        <button className="button" disabled={busy || availability !== "free"}>
          {busy ? "One moment" : "Save"}
        </button>
      </div>
    </form>
  );
}

function WithdrawalForm({ ticket, availability, sellerId, feed, leave }: TicketFormProps) {
  const form = useForm(
    `${sellerId}:withdrawal:${ticket.id}`,
    { sure: false },
    async (_, { reset }) => {
      const options = { params: { id: ticket.id }, tag: tagOf(ticket) };
      await readingConflicts(feed, () => remove("/api/tickets/{id}", options));
      reset();
      discardDraft(changeFormName(sellerId, ticket));
      leave();
      feed.tickets.applyKnown({
        id: ticket.id,
        status: "withdrawn",
        version: ticket.version + 1,
      });
      toast(`${fullName(ticket)} is off sale.`);
    },
  );
  const { values, busy, problem } = form;
  const locked = availability !== "free";
  const harmless = useFocusAfterSwitch(values.sure);
  return (
    <form className="withdraw" {...form.form} aria-label="Take it off sale">
      <FormProblem problem={problem} fields={[]} />
      {values.sure ? (
        <>
          <p>Nobody can buy it then. To sell it after all, list it again.</p>
          <button className="button danger" disabled={busy || locked}>
            Take it off sale
          </button>
          <button
            ref={harmless}
            type="button"
            className="button quiet"
            onClick={() => {
              form.reset();
            }}
          >
            Keep it on sale
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
          Withdraw
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
