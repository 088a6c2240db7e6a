// The page of one show: its tickets as they are this second, and the visitor's selection.
import { useEffect, useRef, useState } from "react";
import { Link, useParams } from "react-router";

import type { Show, Ticket } from "../shared/api-types";
import { useEachSecond } from "../shared/clock";
import { durationText } from "../shared/hold-tickets";
import type { Live } from "../shared/live-rows";
import { useValue } from "../shared/observable";
import { user } from "../shared/session";
import { salesOf } from "../shared/show-sales";
import { useSiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import {
  countTickets,
  isListed,
  isOffered,
  sectionOf,
  sectionsOf,
  type TicketCounts,
} from "../shared/tickets";
import { Empty, Failed, NoSuchShow, OutageBanner } from "../shared/ui/page-states";
import { SalesClosed } from "../shared/ui/sales-closed";
import { BuyerFeed, type Parts } from "./buyer-feed";
import { Chooser } from "./chooser";
import { placeKey, placesFor } from "./choosing";
import { SectionList } from "./section-list";
import { Selection } from "./selection";
import { SelectionPanel } from "./selection-panel";
import { ShowHeader } from "./show-header";
import { isSectionWanted, isWanted, TicketFilters } from "./ticket-filters";
import { type OwnHolds, useOwnHolds } from "./use-own-holds";
import { type Proposals, useProposals } from "./use-proposals";
import { Waiting } from "./waiting";

const DEFAULT_HOLD_SECONDS = 60;
const DEFAULT_MAX = 8;
/** A show with more tickets lists the seats of its rows only on request: the strips have them. */
const MAX_LISTED_SEATS = 60;

export function ShowPage() {
  const { show_id: id } = useParams();
  // The key makes another show another page, with a feed and a selection of its own.
  return id ? <OneShow key={id} id={id} /> : <Waiting />;
}

function OneShow({ id }: { id: string }) {
  const [feed] = useState(() => new BuyerFeed(id));
  const [selection] = useState(() => new Selection(id));
  const show = useValue(feed.show);
  const { rows, ready } = useValue(feed.tickets);
  const problem = useValue(feed.problem);
  const selected = useValue(selection.ids);
  const config = useSiteConfig();
  const holdSeconds = config?.hold_seconds ?? DEFAULT_HOLD_SECONDS;
  const userId = useValue(user)?.id;
  const holds = useOwnHolds();
  const parts = useValue(feed.parts);
  const proposals = useProposals(feed, selection, holds, userId);
  useEachSecond();
  useEffect(() => feed.open(), [feed]);
  useEffect(() => {
    if (ready && !parts.whole) feed.include([...selected]);
  }, [feed, ready, parts.whole, selected]);
  useEffect(() => {
    if (show) document.title = `${show.title} · GitTix`;
  }, [show]);

  if (!show || !ready) {
    if (!problem) return <Waiting />;
    if (problem.status === 404) return <NoSuchShow to="/">{text("show.see_shows")}</NoSuchShow>;
    return <Failed problem={problem} retry={() => void feed.refresh()} />;
  }
  const sales = salesOf(show);
  if (sales !== "open") {
    const link = (
      <Link className="button primary" to="/">
        {text("show.see_shows")}
      </Link>
    );
    return (
      <>
        <OutageBanner />
        <ShowHeader show={show} counts={null} feed={feed} />
        <SalesClosed sales={sales} action={link} />
      </>
    );
  }
  // A hidden ticket stays for the visitor who holds it.
  const tickets = rows.filter((ticket) => isListed(ticket) || holds.has(ticket.id));
  const chosen = tickets.filter((ticket) => selected.has(ticket.id) && isOffered(ticket));
  const isEmpty = tickets.length === 0 && parts.sections.length === 0;
  return (
    <>
      <OutageBanner />
      <ShowHeader
        show={show}
        counts={parts.whole ? countTickets(tickets) : countsOf(show)}
        feed={feed}
      />
      <div className="show-body">
        <div data-tickets>
          {isEmpty ? (
            <Empty title={text("show.no_tickets")}>{text("show.no_tickets_note")}</Empty>
          ) : (
            <Tickets
              feed={feed}
              tickets={tickets}
              selection={selection}
              selected={selected}
              proposals={proposals}
              max={config?.max_tickets_per_order ?? DEFAULT_MAX}
              userId={userId}
              holds={holds}
              holdSeconds={holdSeconds}
            />
          )}
        </div>
        {!isEmpty && (
          <SelectionPanel
            show={show}
            refresh={feed.refresh}
            selection={selection}
            chosen={chosen}
            tickets={tickets}
            config={config}
            replaceLost={proposals.replaceLost}
          />
        )}
      </div>
    </>
  );
}

const countsOf = ({ available: free, held, sold, from_prices: from }: Show): TicketCounts => ({
  free,
  held,
  sold,
  from,
});

interface TicketsProps {
  feed: BuyerFeed;
  tickets: readonly Live<Ticket>[];
  selection: Selection;
  selected: ReadonlySet<string>;
  proposals: Proposals;
  max: number;
  userId: string | undefined;
  holds: OwnHolds;
  holdSeconds: number;
}

/** The filters, the proposals and the sections. */
function Tickets({ feed, tickets, proposals, max, ...props }: TicketsProps) {
  const { selection, userId } = props;
  const { filter, setFilter, quantity, setQuantity } = proposals;
  const parts = useValue(feed.parts);
  const places = quantity && quantity > 1 ? placesFor(tickets, quantity, userId) : null;
  const shown = tickets.filter(
    (ticket) => isWanted(ticket, filter) && (!places || places.has(placeKey(ticket))),
  );
  const sections = parts.whole ? sectionsOf(tickets) : sectionsOf(parts.sections);
  useOpenSection(feed, parts, filter.section);
  const nothing = parts.whole
    ? shown.length === 0
    : !parts.sections.some((section) => isSectionWanted(section, filter, quantity ?? 1));
  return (
    <>
      <Chooser
        quantity={quantity}
        max={max}
        setQuantity={setQuantity}
        proposals={proposals.found}
        selected={props.selected}
        choose={({ tickets: proposed }) => {
          selection.choose(proposed.map(({ id }) => id));
        }}
      />
      <TicketFilters sections={sections} tickets={tickets} filter={filter} change={setFilter} />
      {nothing && (
        <Empty title={text("show.none_wanted")}>
          {text("show.none_wanted_note", { duration: durationText(props.holdSeconds) })}
        </Empty>
      )}
      <SectionList
        {...props}
        feed={feed}
        parts={parts}
        tickets={shown}
        filter={filter}
        quantity={quantity ?? 1}
        toggle={selection.toggle}
        seenOpen={feed.seenOpen}
        listSeats={parts.whole && tickets.length <= MAX_LISTED_SEATS}
      />
      {parts.moreSections && <p className="soft">{text("show.more_sections")}</p>}
    </>
  );
}

/** Of a large show: the section that the visitor filters by, or the only one, is open. */
function useOpenSection(feed: BuyerFeed, { whole, sections, open }: Parts, wanted: string): void {
  const [only, ...others] = sections.filter((each) => !wanted || sectionOf(each) === wanted);
  const name = only && others.length === 0 && !whole ? only.section : null;
  const isOpen = name !== null && open.has(name);
  const opened = useRef<string | null>(null);
  useEffect(() => {
    if (name === null || isOpen || opened.current === name) return;
    opened.current = name;
    void feed.openSection(name);
  }, [feed, name, isOpen]);
}
