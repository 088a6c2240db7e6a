// The tickets of a show on its seller's page, a list for each section.
import type { ReactNode } from "react";

import type { Ticket } from "../shared/api-types";
import type { Live } from "../shared/live-rows";
import { bySection } from "../shared/tickets";

interface SectionListsProps {
  tickets: readonly Live<Ticket>[];
  /** The row of a ticket, with its id as the key. */
  row: (ticket: Live<Ticket>) => ReactNode;
  /** Beside the name of a section. */
  action?: (inSection: readonly Live<Ticket>[], name: string) => ReactNode;
}

export function SectionLists({ tickets, row, action }: SectionListsProps) {
  return bySection(tickets).map(([name, inSection]) => (
    <section className="section" key={name} aria-label={name}>
      <header>
        <h3>{name}</h3>
        <span className="soft">{inSection.length}</span>
        {action?.(inSection, name)}
      </header>
      <ul className="card tickets">{inSection.map(row)}</ul>
    </section>
  ));
}
