// "How many?": proposals of tickets together, the cheapest first.
import type { Ticket } from "../shared/api-types";
import { money, seatName } from "../shared/format";
import { useOutage } from "../shared/outage";
import { text } from "../shared/texts";
import { sectionOf } from "../shared/tickets";
import type { Proposal } from "./choosing";

const MAX_TOGETHER = 8;

interface ChooserProps {
  /** Null while the visitor has not chosen how many. */
  quantity: number | null;
  max: number;
  setQuantity: (quantity: number | null) => void;
  proposals: readonly Proposal[];
  selected: ReadonlySet<string>;
  choose: (proposal: Proposal) => void;
}

export function Chooser(props: ChooserProps) {
  const { quantity, max, setQuantity, proposals, selected, choose } = props;
  const most = Math.min(MAX_TOGETHER, max);
  return (
    <section className="chooser card" aria-label={text("show.how_many")}>
      <div className="chooser-count" role="group" aria-label={text("show.how_many")}>
        <span className="section-title">{text("show.how_many")}</span>
        {Array.from({ length: most }, (_, index) => index + 1).map((number) => (
          <button
            key={number}
            type="button"
            className="chip"
            aria-pressed={number === quantity}
            onClick={() => {
              setQuantity(number === quantity ? null : number);
            }}
          >
            {number}
          </button>
        ))}
      </div>
      {quantity !== null && proposals.length === 0 && (
        <p className="soft" role="status">
          {text("show.no_proposal", { count: quantity })}
        </p>
      )}
      {quantity !== null && proposals.length > 0 && (
        <ol className="proposals">
          {proposals.map((proposal) => (
            <li key={proposal.tickets.map(({ id }) => id).join()}>
              <ProposalButton
                proposal={proposal}
                chosen={
                  selected.size === proposal.tickets.length &&
                  proposal.tickets.every(({ id }) => selected.has(id))
                }
                choose={choose}
              />
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

interface ProposalButtonProps {
  proposal: Proposal;
  chosen: boolean;
  choose: (proposal: Proposal) => void;
}

function ProposalButton({ proposal, chosen, choose }: ProposalButtonProps) {
  const { total, currency, together } = proposal;
  const unreached = useOutage() !== null;
  return (
    <button
      type="button"
      className="proposal"
      aria-pressed={chosen}
      disabled={unreached}
      onClick={() => {
        choose(proposal);
      }}
    >
      <span>
        <b>{proposalName(proposal)}</b>
        {!together && <span className="soft">{text("show.apart")}</span>}
      </span>
      <span className="proposal-price">{money(total, currency)}</span>
    </button>
  );
}

/** The place of the first ticket, and its seats. */
export function proposalName({ tickets, together }: Proposal): string {
  const [first] = tickets;
  const last = tickets.at(-1);
  if (!first || !last) return "";
  if (!together) return text("show.tickets", { count: tickets.length });
  const section = sectionOf(first);
  if (!first.row && !first.seat) {
    return text("show.proposal_standing", { section, count: tickets.length });
  }
  return text("show.proposal_seats", { section, seats: seatsOf(first, last) });
}

function seatsOf(first: Ticket, last: Ticket): string {
  if (first === last || !first.seat || !last.seat) return seatName(first);
  const row = first.row ? `${text("shared.row", { row: first.row })} · ` : "";
  return text("show.seats_to", { row, first: first.seat, last: last.seat });
}
