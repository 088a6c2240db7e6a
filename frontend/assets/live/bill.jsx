// What tickets cost together: in the pick, at the checkout and on a receipt.
import { fullName, money } from "./format.js";

/** An order's tickets have its currency; listed ones name their own. */
export function Bill({ tickets, fee, currency }) {
  return (
    <ul className="bill">
      {tickets.map((ticket) => (
        <li className="bill-line" key={ticket.id}>
          <span>{fullName(ticket)}</span>
          <span>{money(ticket.price, ticket.currency ?? currency)}</span>
        </li>
      ))}
      {fee > 0 && (
        <li className="bill-line soft">
          <span>Service fee</span>
          <span>{money(fee, currency)}</span>
        </li>
      )}
    </ul>
  );
}

/** Without a total where none can be said. */
export function Total({ count, total, currency }) {
  return (
    <p className="bill-total">
      <span className="soft">{count === 1 ? "1 ticket" : `${count} tickets`}, all-in</span>
      <b>{total === null ? "—" : money(total, currency)}</b>
    </p>
  );
}
