// Filters of a show's tickets: by price, section and availability.
import type { Section, Ticket } from "../shared/api-types";
import { moneyFrom } from "../shared/format";
import { text } from "../shared/texts";
import { availabilityOf, sectionOf } from "../shared/tickets";
import { SelectChip } from "../shared/ui/select-chip";

export interface TicketFilter {
  /** The highest price and its currency, as the select has them: "4500 EUR"; empty for any. */
  maxPrice: string;
  section: string;
  onlyFree: boolean;
}

export const NO_FILTER: TicketFilter = { maxPrice: "", section: "", onlyFree: false };

export function isWanted(ticket: Ticket, { maxPrice, section, onlyFree }: TicketFilter): boolean {
  if (maxPrice) {
    const [price, currency] = maxPrice.split(" ");
    if (ticket.currency !== currency || ticket.price > Number(price)) return false;
  }
  if (section && sectionOf(ticket) !== section) return false;
  return !onlyFree || availabilityOf(ticket) === "free";
}

/** Whether a section of which no tickets were read may have wanted ones. */
export function isSectionWanted(counts: Section, filter: TicketFilter, quantity = 1): boolean {
  const { maxPrice, section, onlyFree } = filter;
  if (section && sectionOf(counts) !== section) return false;
  if ((onlyFree || quantity > 1) && counts.available < quantity) return false;
  if (!maxPrice) return true;
  const [most, wanted] = maxPrice.split(" ");
  return counts.from_prices.some(
    ({ price, currency }) => currency === wanted && price <= Number(most),
  );
}

/**
 * The prices to choose from, one currency after the other. In a show of one currency, its highest
 * price would leave nothing out.
 */
export function priceOptions(
  tickets: readonly Pick<Ticket, "price" | "currency">[],
): (readonly [value: string, label: string])[] {
  const currencies = [...new Set(tickets.map((ticket) => ticket.currency))].sort();
  const options = currencies.flatMap((currency) => {
    const inCurrency = tickets.filter((ticket) => ticket.currency === currency);
    const prices = [...new Set(inCurrency.map(({ price }) => price))].sort((a, b) => a - b);
    return evenly(prices).map(
      (price) =>
        [
          `${price} ${currency}`,
          text("show.up_to", { price: moneyFrom(price, currency) }),
        ] as const,
    );
  });
  return currencies.length > 1 ? options : options.slice(0, -1);
}

const MAX_PRICES = 16;

/** Up to MAX_PRICES of many values, the last one included. */
function evenly(values: readonly number[]): readonly number[] {
  if (values.length <= MAX_PRICES) return values;
  const step = values.length / MAX_PRICES;
  return Array.from({ length: MAX_PRICES }, (_, index) => {
    return values[Math.ceil((index + 1) * step) - 1] ?? 0;
  });
}

interface TicketFiltersProps {
  /** The names of the sections. */
  sections: readonly string[];
  tickets: readonly Ticket[];
  filter: TicketFilter;
  change: (filter: TicketFilter) => void;
}

export function TicketFilters({ sections, tickets, filter, change }: TicketFiltersProps) {
  const prices = priceOptions(tickets);
  return (
    <div className="ticket-filters">
      {prices.length > 0 && (
        <SelectChip
          label={text("show.price")}
          none={text("show.any_price")}
          options={prices}
          value={filter.maxPrice}
          onChange={(maxPrice) => {
            change({ ...filter, maxPrice });
          }}
        />
      )}
      {sections.length > 1 && (
        <SelectChip
          label={text("show.section")}
          none={text("show.all_sections")}
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
        {text("show.only_available")}
      </button>
    </div>
  );
}
