// The prices of tickets and their total: in the selection, at the checkout and on a receipt.
import { fullName, money, type Seat } from "../format";
import { text } from "../texts";

type PricedTicket = Seat & { id: string; price: number };

interface PriceLinesProps {
  tickets: readonly PricedTicket[];
  /** 0 where it is not shown. */
  fee: number;
  currency: string;
}

export function PriceLines({ tickets, fee, currency }: PriceLinesProps) {
  return (
    <ul className="bill">
      {tickets.map((ticket) => (
        <li className="bill-line" key={ticket.id}>
          <span>{fullName(ticket)}</span>
          <span>{money(ticket.price, currencyOf(ticket) ?? currency)}</span>
        </li>
      ))}
      {fee > 0 && (
        <li className="bill-line soft">
          <span>{text("shared.service_fee")}</span>
          <span>{money(fee, currency)}</span>
        </li>
      )}
    </ul>
  );
}

/** A listed ticket has a currency of its own; the tickets of an order have the order's. */
function currencyOf(ticket: PricedTicket & { currency?: string }): string | undefined {
  return ticket.currency;
}

interface PriceTotalProps {
  count: number;
  /** Null for tickets that cannot be ordered together. */
  total: number | null;
  currency: string;
}

export function PriceTotal({ count, total, currency }: PriceTotalProps) {
  return (
    <p className="bill-total">
      <span className="soft">{text("shared.all_in", { count })}</span>
      <b>{total === null ? "—" : money(total, currency)}</b>
    </p>
  );
}
