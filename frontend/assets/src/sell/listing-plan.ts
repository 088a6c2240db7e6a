// From the words of the listing form to the tickets that it lists.
import type { TicketSpec } from "../shared/api-types";
import type { FieldMessages } from "../shared/form";
import { text } from "../shared/texts";
import { amountsOf, type PriceValues } from "./price-fields";
import { MAX_TICKETS, seatLabels } from "./seat-labels";

export interface ListingValues extends PriceValues {
  kind: "seats" | "standing";
  section: string;
  rows: string;
  seats: string;
  count: string;
}

type Place = Pick<TicketSpec, "row" | "seat">;

interface Places {
  rows: string[];
  seats: string[];
  places: Place[];
}

export interface ListingPlan extends Places {
  specs: TicketSpec[];
  /** Of one ticket; undefined while it is no amount. */
  price: number | undefined;
  messages: FieldMessages;
}

export function listingPlan(values: ListingValues): ListingPlan {
  const { amounts, messages } = amountsOf(values);
  const places =
    values.kind === "seats" ? seatedPlaces(values, messages) : standingPlaces(values, messages);
  const offer = { ...amounts, currency: values.currency, section: values.section || null };
  const price = messages.price === undefined ? amounts.price : undefined;
  return {
    ...places,
    specs: places.places.map((place) => ({ ...offer, ...place })),
    price,
    messages,
  };
}

/** Adds to `messages` the fields that name no seats. */
function seatedPlaces(values: ListingValues, messages: FieldMessages): Places {
  const labels = (field: "rows" | "seats") => {
    try {
      return seatLabels(values[field]);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      messages[field] = error.message;
      return [];
    }
  };
  const [rows, seats] = [labels("rows"), labels("seats")];
  if (!seats.length) messages.seats ??= text("sell.seats_missing");
  if (rows.length * seats.length > MAX_TICKETS) {
    messages.seats = text("sell.too_many", { most: MAX_TICKETS });
  }
  if (messages.rows ?? messages.seats) return { rows: [], seats: [], places: [] };
  const inRows = rows.length ? rows : [""];
  const places = inRows.flatMap((row) => seats.map((seat) => ({ row: row || null, seat })));
  return { rows: inRows, seats, places };
}

/** Adds to `messages` a count that is no number of tickets. */
function standingPlaces(values: ListingValues, messages: FieldMessages): Places {
  const count = /^\d{1,6}$/.test(values.count.trim()) ? Number(values.count) : 0;
  if (count < 1) messages.count = text("sell.count_missing");
  if (count > MAX_TICKETS) messages.count = text("sell.too_many", { most: MAX_TICKETS });
  const places = messages.count ? [] : Array.from({ length: count }, () => ({}));
  return { rows: [], seats: [], places };
}

type SeatedTicket = Pick<TicketSpec, "section" | "row" | "seat">;

/** How many of these seats the seller lists already. */
export function repeatedSeats(
  specs: readonly SeatedTicket[],
  listed: readonly SeatedTicket[],
): number {
  const seatOf = ({ section, row, seat }: SeatedTicket) =>
    [section, row, seat].map((part) => part?.trim().toLowerCase() ?? "").join("\u0001");
  const taken = new Set(listed.filter(({ row, seat }) => Boolean(row || seat)).map(seatOf));
  return specs.filter((spec) => taken.has(seatOf(spec))).length;
}
