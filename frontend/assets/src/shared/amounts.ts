// Amounts as people type them. They are parsed digit by digit, never as a floating-point number.
import { decimalsOf, rulesOf, shownDecimals } from "./currencies";
import { money } from "./format";
import { text } from "./texts";

/**
 * The amount in minor units: "45", "45,5", "€ 1.234,50" and "1,234.50" are read as written, and
 * "500" in JPY is 500. Undefined when the text is no amount of that currency.
 */
export function minorUnits(text: string, currency: string): number | undefined {
  const typed = text.replace(/[\s\u00a0\u202f'’]|\p{Sc}/gu, "");
  if (!/^\d[\d.,]*$/.test(typed)) return undefined;
  const decimals = decimalsOf(currency);
  const point = decimalPoint(typed, decimals);
  const whole = typed.slice(0, point);
  const fraction = typed.slice(point + 1);
  if (fraction.length > decimals || !isGrouped(whole)) return undefined;
  const amount = Number(whole.replace(/[.,]/g, "") + fraction.padEnd(decimals, "0"));
  return Number.isSafeInteger(amount) ? amount : undefined;
}

/** The amount as a person would type it: "45.00". */
export function majorUnits(amount: number, currency: string): string {
  const { exponent } = rulesOf(currency);
  const padded = String(amount).padStart(exponent + 1, "0");
  const point = padded.length - exponent;
  const fraction = padded.slice(point, point + shownDecimals(amount, currency));
  return fraction ? `${padded.slice(0, point)}.${fraction}` : padded.slice(0, point);
}

export function amountHint(currency: string): string {
  const { exponent, minimum, maximumPrice } = rulesOf(currency);
  const usual = 45 * 10 ** exponent;
  const example = usual >= minimum && usual <= maximumPrice ? usual : 2 * minimum;
  return text("shared.amount_hint", { amount: money(example, currency) });
}

/** Why nobody could pay this price, and what to do; undefined for one that can be paid. */
export function priceObstacle(amount: number, currency: string): string | undefined {
  const { minimum } = rulesOf(currency);
  if (amount < minimum) return text("shared.price_low", { least: money(minimum, currency) });
  return amountObstacle(amount, currency);
}

/** The same of a face value, which may be low, since it is not charged. */
export function amountObstacle(amount: number, currency: string): string | undefined {
  const { step, maximumPrice } = rulesOf(currency);
  if (amount > maximumPrice) {
    return text("shared.price_high", { most: money(maximumPrice, currency) });
  }
  if (amount % step === 0) return undefined;
  const above = money(amount - (amount % step) + step, currency);
  return text("shared.price_step", { step: money(step, currency), above });
}

/** Where the fraction begins: at the last mark, unless that can only separate thousands. */
function decimalPoint(typed: string, decimals: number): number {
  const last = Math.max(typed.lastIndexOf("."), typed.lastIndexOf(","));
  if (last < 0) return typed.length;
  const repeated = typed.indexOf(typed.charAt(last)) !== last;
  const digitsAfter = typed.length - last - 1;
  return repeated || (digitsAfter === 3 && decimals !== 3) ? typed.length : last;
}

/** Whether thousands are separated by one kind of mark, or not at all. */
function isGrouped(whole: string): boolean {
  return /^(\d+|\d{1,3}(\.\d{3})+|\d{1,3}(,\d{3})+)$/.test(whole);
}
