// The bought tickets as paper: the show, and the seat on the stub.
import { seatName, showTime } from "../shared/format";
import { useValue } from "../shared/observable";
import type { OrderRow } from "../shared/push-messages";
import { showArt } from "../shared/show-art";
import { shows, ticketsByShow } from "../shared/shows-by-id";
import { text } from "../shared/texts";

export function PaidTickets({ order }: { order: OrderRow }) {
  const known = useValue(shows);
  const groups = ticketsByShow(order, known);
  return (
    <ul className="paid-tickets">
      {groups.flatMap(({ showId, show, tickets }) =>
        tickets.map((ticket) => (
          <li className="card paid-ticket" key={ticket.id} data-line={ticket.status}>
            <div
              className="paid-art"
              style={{ background: showArt(showId, known.get(showId)?.category) }}
            />
            <div className="paid-show">
              <b>{show ? show.title : text("checkout.a_show")}</b>
              {show && (
                <>
                  <time dateTime={show.starts_at}>{showTime(show)}</time>
                  <span className="soft">{`${show.venue}, ${show.city}`}</span>
                </>
              )}
            </div>
            <div className="paid-seat">
              {ticket.section && <span className="note">{ticket.section}</span>}
              <b>{seatName(ticket)}</b>
              {ticket.status === "refunded" && (
                <span className="note">{text("checkout.line_refunded")}</span>
              )}
              {ticket.status === "refund_pending" && (
                <span className="note">{text("checkout.line_refund_pending")}</span>
              )}
              {ticket.refund_reason && <span className="note">{ticket.refund_reason}</span>}
            </div>
          </li>
        )),
      )}
    </ul>
  );
}
