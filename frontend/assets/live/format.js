// Money, times and names, as the reader's language writes them.
export const ZERO_DECIMAL = new Set("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF".split(" "));
export const THREE_DECIMAL = new Set("BHD JOD KWD OMR TND".split(" "));

const made = new Map();

/** Formatters are slow to make and quick to use. */
function formatter(Kind, options) {
  const name = Kind.name + JSON.stringify(options);
  if (!made.has(name)) made.set(name, new Kind(undefined, options));
  return made.get(name);
}

/** Stripe's minor units, which are not always those of the language's own tables. */
export function digitsOf(currency) {
  return ZERO_DECIMAL.has(currency) ? 0 : THREE_DECIMAL.has(currency) ? 3 : 2;
}

/** `money(4500, "EUR")` is "€45.00" in English. */
export function money(amount, currency) {
  const digits = digitsOf(currency);
  return currencyFormat(currency, digits).format(amount / 10 ** digits);
}

/** Without cents where there are none: for "from" prices. */
export function moneyFrom(amount, currency) {
  const digits = digitsOf(currency);
  return currencyFormat(currency, amount % 10 ** digits ? digits : 0).format(amount / 10 ** digits);
}

function currencyFormat(currency, digits) {
  return formatter(Intl.NumberFormat, {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** "Fri, 4 Dec · 20:00" where the show is. */
export function showTime(show) {
  const day = inZone(show, { weekday: "short", day: "numeric", month: "short" });
  return `${day} · ${clockTime(show)}`;
}

export function clockTime(show) {
  return inZone(show, { hour: "2-digit", minute: "2-digit" });
}

export function monthAndDay(show) {
  return [inZone(show, { month: "short" }), inZone(show, { day: "numeric" })];
}

/** The show's time where the reader is, if that is another time. */
export function readersTime(show) {
  const options = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
  const here = formatter(Intl.DateTimeFormat, options).format(new Date(show.starts_at));
  return here === inZone(show, options) ? "" : `${here} your time`;
}

function inZone(show, options) {
  const at = new Date(show.starts_at);
  try {
    return formatter(Intl.DateTimeFormat, { ...options, timeZone: show.timezone }).format(at);
  } catch {
    return formatter(Intl.DateTimeFormat, { ...options, timeZone: "UTC" }).format(at);
  }
}

/** "22 Nov 2026, 16:30", where the reader is. */
export function dayAndTime(time) {
  return formatter(Intl.DateTimeFormat, { dateStyle: "medium", timeStyle: "short" }).format(new Date(time));
}

/** 38 is "0:38". */
export function minutes(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

export function seatName(ticket) {
  const place = [ticket.row && `Row ${ticket.row}`, ticket.seat && `seat ${ticket.seat}`].filter(Boolean).join(" · ");
  return place || ticket.title || ticket.section || "Ticket";
}

export function fullName(ticket) {
  const seat = seatName(ticket);
  return ticket.section && ticket.section !== seat ? `${ticket.section} · ${seat}` : seat;
}

const GROUNDS = [
  ["#22354f", "#6a8eab"],
  ["#5a1f2c", "#d76f5c"],
  ["#20402f", "#8cae68"],
  ["#33275c", "#9d83d4"],
  ["#3a2d17", "#d9a03c"],
  ["#15303a", "#4fa3a5"],
  ["#3d1f4a", "#c46a9b"],
  ["#1d2a5e", "#5f86e0"],
  ["#4a2a1c", "#c98a62"],
];

/** A show's picture until its seller gives one: two colours, and two rings of light. */
export function art(id) {
  let hash = 2166136261;
  for (const letter of id) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619);
  // Its low bits alone are too much alike for ids of one minute.
  hash = (hash ^ (hash >>> 15) ^ (hash >>> 7)) >>> 0;
  const [from, to] = GROUNDS[hash % GROUNDS.length];
  const x = 55 + ((hash >>> 4) % 50);
  const y = ((hash >>> 14) % 120) - 10;
  const ring = (reach) =>
    `radial-gradient(circle at ${x}% ${y}%, transparent ${reach}px, rgb(255 255 255 / 9%) ${reach + 1}px ${reach + 26}px, transparent ${reach + 27}px)`;
  return `${ring(44)}, ${ring(96)}, linear-gradient(${112 + (hash % 30)}deg, ${from}, ${to})`;
}
