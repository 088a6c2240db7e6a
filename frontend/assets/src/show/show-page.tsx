// The page of one show: its tickets as they are this second, and the visitor's selection.
import { useEffect, useEffectEvent, useState } from "react";
import { Link, useParams } from "react-router";

import type { Ticket } from "../shared/api-types";
import { useEachSecond } from "../shared/clock";
import { fullName } from "../shared/format";
import { durationText } from "../shared/hold-tickets";
import { useValue } from "../shared/observable";
import { user } from "../shared/session";
import { ShowFeed } from "../shared/show-feed";
import { salesOf } from "../shared/show-sales";
import { useSiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import { bySection, countTickets, isListed, isOffered } from "../shared/tickets";
import { Empty, Failed, NoSuchShow, OutageBanner } from "../shared/ui/page-states";
import { SalesClosed } from "../shared/ui/sales-closed";
import { toast } from "../shared/ui/toasts";
import { Selection } from "./selection";
import { SelectionPanel } from "./selection-panel";
import { ShowHeader } from "./show-header";
import { isWanted, NO_FILTER, TicketFilters } from "./ticket-filters";
import { Section } from "./ticket-rows";
import { type OwnHolds, useOwnHolds } from "./use-own-holds";
import { Waiting } from "./waiting";

const DEFAULT_HOLD_SECONDS = 60;
/** After this time, useOwnHolds has the visitor's holds that were made in another tab. */
const OWN_HOLD_MS = 800;

export function ShowPage() {
  const { show_id: id } = useParams();
  // The key makes another show another page, with a feed and a selection of its own.
  return id ? <OneShow key={id} id={id} /> : <Waiting />;
}

function OneShow({ id }: { id: string }) {
  const [feed] = useState(() => new ShowFeed(id));
  const [selection] = useState(() => new Selection(id));
  const show = useValue(feed.show);
  const { rows, ready } = useValue(feed.tickets);
  const problem = useValue(feed.problem);
  const selected = useValue(selection.ids);
  const config = useSiteConfig();
  const holdSeconds = config?.hold_seconds ?? DEFAULT_HOLD_SECONDS;
  const userId = useValue(user)?.id;
  const holds = useOwnHolds();
  const [filter, setFilter] = useState(NO_FILTER);
  useEachSecond();
  useEffect(() => feed.open(), [feed]);
  useLostTicketNotice(feed, selection, holds);
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
  const shown = tickets.filter((ticket) => isWanted(ticket, filter));
  const chosen = tickets.filter((ticket) => selected.has(ticket.id) && isOffered(ticket));
  return (
    <>
      <OutageBanner />
      <ShowHeader show={show} counts={countTickets(tickets)} feed={feed} />
      <div className="show-body">
        <div data-tickets>
          {tickets.length > 0 && (
            <TicketFilters tickets={tickets} filter={filter} change={setFilter} />
          )}
          {tickets.length === 0 && (
            <Empty title={text("show.no_tickets")}>{text("show.no_tickets_note")}</Empty>
          )}
          {tickets.length > 0 && shown.length === 0 && (
            <Empty title={text("show.none_wanted")}>
              {text("show.none_wanted_note", { duration: durationText(holdSeconds) })}
            </Empty>
          )}
          {bySection(shown).map(([name, inSection]) => (
            <Section
              key={name}
              name={name}
              tickets={inSection}
              selected={selected}
              toggle={selection.toggle}
              userId={userId}
              holds={holds}
              holdSeconds={holdSeconds}
            />
          ))}
        </div>
        {tickets.length > 0 && (
          <SelectionPanel
            showId={id}
            selection={selection}
            chosen={chosen}
            tickets={tickets}
            config={config}
          />
        )}
      </div>
    </>
  );
}

/**
 * Takes a ticket that another buyer held, or that is no longer on sale, out of the selection, with
 * a notice.
 */
function useLostTicketNotice(feed: ShowFeed, selection: Selection, holds: OwnHolds): void {
  const notify = useEffectEvent((ticket: Ticket) => {
    if (holds.has(ticket.id)) return;
    toast(
      isListed(ticket)
        ? text("show.faster", { name: fullName(ticket) })
        : text("show.not_on_sale", { name: fullName(ticket) }),
    );
  });
  useEffect(() => {
    const timers = new Set<ReturnType<typeof setTimeout>>();
    const stop = feed.onTicketChange((ticket) => {
      if (!selection.has(ticket.id) || selection.holding.value) return;
      if (isOffered(ticket)) return;
      selection.toggle(ticket.id);
      timers.add(
        setTimeout(() => {
          notify(ticket);
        }, OWN_HOLD_MS),
      );
    });
    return () => {
      stop();
      timers.forEach(clearTimeout);
    };
  }, [feed, selection]);
}
