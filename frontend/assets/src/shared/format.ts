// Money, times and names, in the reader's language.
import type { FromPrice, Show, Ticket } from "./api-types";
import { decimalsOf, shownDecimals } from "./currencies";
import { text } from "./texts";
import { isKnownZone } from "./time-zones";

const numberFormats = new Map<string, Intl.NumberFormat>();
const timeFormats = new Map<string, Intl.DateTimeFormat>();

/** Intl's formatters are slow to construct and quick to use, so each is constructed once. */
function cached<T>(formats: Map<string, T>, options: object, construct: () => T): T {
  const key = JSON.stringify(options);
  let format = formats.get(key);
  if (format === undefined) {
    format = construct();
    formats.set(key, format);
  }
  return format;
}

/** `money(4500, "EUR")` is "€45.00" in English. */
export function money(amount: number, currency: string): string {
  return formatMoney(amount, currency, shownDecimals(amount, currency));
}

/** Without decimals where they are zero: for "from" prices. */
export function moneyFrom(amount: number, currency: string): string {
  const decimals = shownDecimals(amount, currency);
  return formatMoney(amount, currency, amount % 10 ** decimalsOf(currency) ? decimals : 0);
}

/** "€45 or ¥5,000": the lowest price in each currency. */
export function pricesFrom(prices: readonly FromPrice[]): string {
  const format = new Intl.ListFormat(undefined, { type: "disjunction" });
  return format.format(prices.map(({ price, currency }) => moneyFrom(price, currency)));
}

/** "€1.2K", for the axis of a chart. */
export function moneyCompact(amount: number, currency: string): string {
  const options = {
    notation: "compact",
    maximumFractionDigits: 1,
    minimumFractionDigits: 0,
  } as const;
  return currencyFormat({ ...options, currency }).format(amount / 10 ** decimalsOf(currency));
}

function formatMoney(amount: number, currency: string, digits: number): string {
  const options = { currency, minimumFractionDigits: digits, maximumFractionDigits: digits };
  return currencyFormat(options).format(amount / 10 ** decimalsOf(currency));
}

function currencyFormat(options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const full = { style: "currency", currencyDisplay: "narrowSymbol", ...options } as const;
  return cached(numberFormats, full, () => new Intl.NumberFormat(undefined, full));
}

type ShowTime = Pick<Show, "starts_at" | "timezone"> & Partial<Pick<Show, "local_start">>;

const DAY_MS = 86_400_000;

/**
 * At the venue: "Fri, 4 Dec · 20:00", with an end "Fri, 4 Dec · 22:00 to 04:00", with one that is a
 * day later or more "Fri, 4 Dec · 20:00 to Sun, 6 Dec · 23:00".
 */
export function showTime(show: ShowTime & { ends_at?: string | null }): string {
  const { starts_at, ends_at, timezone, local_start } = show;
  const start = `${venueDay(show)} · ${clockTime(show)}`;
  if (!ends_at) return start;
  const local = local_start ? { local_start: localTime(ends_at, { starts_at, local_start }) } : {};
  const end = { starts_at: ends_at, timezone, ...local };
  const isLong = Date.parse(ends_at) - Date.parse(starts_at) >= DAY_MS;
  return `${start} to ${isLong ? `${venueDay(end)} · ` : ""}${clockTime(end)}`;
}

const venueDay = (show: ShowTime): string =>
  atVenue(show, { weekday: "short", day: "numeric", month: "short" });

export function clockTime(show: ShowTime): string {
  return atVenue(show, { hour: "numeric", minute: "2-digit" });
}

export function monthAndDay(show: ShowTime): [month: string, day: string] {
  return [atVenue(show, { month: "short" }), atVenue(show, { day: "numeric" })];
}

/** The show's time in the reader's zone; empty where it is the same. */
export function readersTime(show: ShowTime): string {
  const options = {
    weekday: "short",
    day: "numeric",
    month: "short",
    hour: "numeric",
    minute: "2-digit",
  } as const;
  const here = formatTime(show.starts_at, options);
  return here === atVenue(show, options) ? "" : text("shared.your_time", { time: here });
}

/**
 * A browser may not know the venue's zone. Then the server's conversion of the start is shown, or
 * the time in UTC, and named so.
 */
function atVenue(show: ShowTime, options: Intl.DateTimeFormatOptions): string {
  const { starts_at, timezone, local_start } = show;
  if (isKnownZone(timezone)) return formatTime(starts_at, { ...options, timeZone: timezone });
  if (local_start) return formatTime(`${local_start}Z`, { ...options, timeZone: "UTC" });
  const named = options.hour ? ({ ...options, timeZoneName: "short" } as const) : options;
  return formatTime(starts_at, { ...named, timeZone: "UTC" });
}

/** An instant by the clocks at the venue, which stand as they do at the start of the show. */
export function localTime(
  instant: string,
  { starts_at, local_start }: Pick<Show, "starts_at" | "local_start">,
): string {
  const offset = Date.parse(`${local_start}Z`) - Date.parse(starts_at);
  return new Date(Date.parse(instant) + offset).toISOString().slice(0, 19);
}

/** "22 Nov 2026, 16:30" in the reader's zone. */
export function dayAndTime(time: string): string {
  return formatTime(time, { dateStyle: "medium", timeStyle: "short" });
}

export function formatTime(time: string, options: Intl.DateTimeFormatOptions): string {
  const format = cached(timeFormats, options, () => new Intl.DateTimeFormat(undefined, options));
  return format.format(new Date(time));
}

/** 38 is "0:38". */
export function minutes(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** `counted(2, "ticket")` is "2 tickets". */
export function counted(count: number, noun: string): string {
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`;
}

export type Seat = Pick<Ticket, "title" | "section" | "row" | "seat">;

export function seatName(ticket: Seat): string {
  const row = ticket.row && text("shared.row", { row: ticket.row });
  const seat = ticket.seat && text("shared.seat", { seat: ticket.seat });
  const place = [row, seat].filter(Boolean).join(" · ");
  return place || ticket.title || ticket.section || text("shared.ticket");
}

/** The seat's name after its section's. */
export function fullName(ticket: Seat): string {
  const seat = seatName(ticket);
  return ticket.section && ticket.section !== seat ? `${ticket.section} · ${seat}` : seat;
}

/** With a capital letter and a full stop. */
export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.?]$/.test(text) ? "" : ".");
}

export function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The first `limit` characters, as the API counts them: one for an emoji of two UTF-16 units. */
export function shortened(text: string, limit = Infinity): string {
  return text.length <= limit ? text : Array.from(text).slice(0, limit).join("");
}
