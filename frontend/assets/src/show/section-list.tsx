// The sections of a show, each with its counts, its lowest price and, while it is open, its lines.
import { useState } from "react";

import type { FromPrice, Ticket } from "../shared/api-types";
import { pricesFrom } from "../shared/format";
import type { Live } from "../shared/live-rows";
import { text } from "../shared/texts";
import { compareNames, countTickets, inSeatOrder, sectionOf } from "../shared/tickets";
import type { BuyerFeed, OpenSection, Parts } from "./buyer-feed";
import { LazyBlock } from "./lazy-block";
import { type LinesProps, SectionLines } from "./section-lines";
import { isSectionWanted, type TicketFilter } from "./ticket-filters";

/** The sections of a show with more tickets are closed at first, unless they are few. */
const MAX_OPEN_TICKETS = 200;
const FEW_SECTIONS = 4;
/** More sections than these are rendered in blocks of as many. */
const MAX_EAGER = 120;
const HEADER_PX = 64;

interface SectionView {
  /** Empty for tickets without a section. */
  name: string;
  tickets: Live<Ticket>[];
  free: number;
  sold: number;
  from: readonly FromPrice[];
  /** Of a large show: the part that was read. */
  part: OpenSection | undefined;
}

interface SectionListProps extends LinesProps {
  feed: BuyerFeed;
  parts: Parts;
  /** The tickets that the filters let pass. */
  tickets: readonly Live<Ticket>[];
  filter: TicketFilter;
  quantity: number;
}

export function SectionList({
  feed,
  parts,
  tickets,
  filter,
  quantity,
  ...lines
}: SectionListProps) {
  const [toggled, setToggled] = useState<ReadonlyMap<string, boolean>>(new Map());
  const views = parts.whole ? ofTickets(tickets) : ofParts(parts, tickets, filter, quantity);
  const openAtFirst = tickets.length <= MAX_OPEN_TICKETS || views.length <= FEW_SECTIONS;
  const isOpen = ({ name, part }: SectionView) =>
    parts.whole ? (toggled.get(name) ?? openAtFirst) : part !== undefined;
  const toggle = (view: SectionView) => {
    const open = !isOpen(view);
    setToggled(new Map(toggled).set(view.name, open));
    if (parts.whole) return;
    if (open) void feed.openSection(view.name);
    else feed.closeSection(view.name);
  };
  const section = (view: SectionView) => (
    <SectionPart
      key={view.name}
      {...lines}
      view={view}
      open={isOpen(view)}
      onToggle={() => {
        toggle(view);
      }}
      onEnd={() => {
        feed.readMore(view.name);
      }}
    />
  );
  if (views.length <= MAX_EAGER) return views.map(section);
  return Array.from({ length: Math.ceil(views.length / MAX_EAGER) }, (_, index) => {
    const block = views.slice(index * MAX_EAGER, (index + 1) * MAX_EAGER);
    return (
      <LazyBlock key={index} estimate={block.length * HEADER_PX}>
        {() => block.map(section)}
      </LazyBlock>
    );
  });
}

function ofTickets(tickets: readonly Live<Ticket>[]): SectionView[] {
  const sections = Map.groupBy(tickets, ({ section }) => section ?? "");
  return sorted(
    [...sections].map(([name, inSection]) => {
      const { free, sold, from } = countTickets(inSection);
      return { name, tickets: inSeatOrder(inSection), free, sold, from, part: undefined };
    }),
  );
}

/** A section counts the tickets that were read once these are all that are free. */
function ofParts(
  { sections, open }: Parts,
  tickets: readonly Live<Ticket>[],
  filter: TicketFilter,
  quantity: number,
): SectionView[] {
  const read = Map.groupBy(tickets, ({ section }) => section ?? "");
  return sorted(
    sections
      .filter((section) => isSectionWanted(section, filter, quantity))
      .map((section) => {
        const part = open.get(section.section);
        const inSection = part ? inSeatOrder(read.get(section.section) ?? []) : [];
        const isComplete = part?.next === null && !part.reading;
        return {
          name: section.section,
          tickets: inSection,
          free: isComplete ? countTickets(inSection).free : section.available,
          sold: isComplete ? countTickets(inSection).sold : section.sold,
          from: section.from_prices,
          part,
        };
      }),
  );
}

const sorted = (views: SectionView[]) =>
  views.sort((one, other) => compareNames(nameOf(one), nameOf(other)));

const nameOf = ({ name }: Pick<SectionView, "name">) => sectionOf({ section: name });

interface SectionPartProps extends LinesProps {
  view: SectionView;
  open: boolean;
  onToggle: () => void;
  /** Called when the visitor scrolls near the end of the rows that were read. */
  onEnd: () => void;
}

function SectionPart({ view, open, onToggle, onEnd, ...lines }: SectionPartProps) {
  const { tickets, free, sold, from, part } = view;
  const name = nameOf(view);
  return (
    <section className={`section ${open ? "" : "closed"}`} aria-label={name}>
      <header>
        <h2 className="section-title">
          <button type="button" className="section-toggle" aria-expanded={open} onClick={onToggle}>
            {name}
          </button>
        </h2>
        <span className="soft">
          {from.length > 0 && !open
            ? text("show.available", { count: free, price: pricesFrom(from) })
            : text("show.left", { count: free })}
        </span>
      </header>
      {open && part?.reading && tickets.length === 0 && (
        <p className="soft" role="status">
          {text("show.loading_section")}
        </p>
      )}
      {open && (tickets.length > 0 || sold > 0) && (
        <SectionLines {...lines} tickets={tickets} sold={sold} />
      )}
      {open && part?.next && (
        <>
          <LazyBlock key={part.next} estimate={1} onNear={onEnd} />
          <button type="button" className="button quiet" disabled={part.reading} onClick={onEnd}>
            {text("show.more_tickets")}
          </button>
        </>
      )}
    </section>
  );
}
