// Filters of a show's tickets: by price, section and availability.
import type { Ticket } from "../shared/api-types";
import { moneyFrom } from "../shared/format";
import { availabilityOf, sectionOf, sectionsOf } from "../shared/tickets";
import { SelectChip } from "../shared/ui/select-chip";

export interface TicketFilter {
  /** The highest price in minor units, as the select has it; empty for any. */
  maxPrice: string;
  section: string;
  onlyFree: boolean;
}

export const NO_FILTER: TicketFilter = { maxPrice: "", section: "", onlyFree: false };

export function isWanted(ticket: Ticket, { maxPrice, section, onlyFree }: TicketFilter): boolean {
  if (maxPrice && ticket.price > Number(maxPrice)) return false;
  if (section && sectionOf(ticket) !== section) return false;
  return !onlyFree || availabilityOf(ticket) === "free";
}

interface TicketFiltersProps {
  tickets: readonly Ticket[];
  filter: TicketFilter;
  change: (filter: TicketFilter) => void;
}

export function TicketFilters({ tickets, filter, change }: TicketFiltersProps) {
  const prices = [...new Set(tickets.map((ticket) => ticket.price))].sort((a, b) => a - b);
  const sections = sectionsOf(tickets);
  const currency = tickets[0]?.currency ?? "";
  return (
    <div className="ticket-filters">
      {prices.length > 1 && (
        <SelectChip
          label="Price"
          none="Any price"
          options={prices
            .slice(0, -1)
            .map((price) => [String(price), `Up to ${moneyFrom(price, currency)}`])}
          value={filter.maxPrice}
          onChange={(maxPrice) => {
            change({ ...filter, maxPrice });
          }}
        />
      )}
      {sections.length > 1 && (
        <SelectChip
          label="Section"
          none="All sections"
          options={sections.map((name) => [name, name])}
          value={filter.section}
          onChange={(section) => {
            change({ ...filter, section });
          }}
        />
      )}
      <button
        type="button"
        className="chip"
        aria-pressed={filter.onlyFree}
        onClick={() => {
          change({ ...filter, onlyFree: !filter.onlyFree });
        }}
      >
        Only free ones
      </button>
    </div>
  );
}
