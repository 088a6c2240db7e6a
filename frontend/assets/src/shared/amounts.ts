// Amounts as people type them. They are parsed digit by digit, never as a floating-point number.
import { decimalsOf } from "./currencies";
import { money } from "./format";

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
  const decimals = decimalsOf(currency);
  const padded = String(amount).padStart(decimals + 1, "0");
  return decimals ? `${padded.slice(0, -decimals)}.${padded.slice(-decimals)}` : padded;
}

export function amountHint(currency: string): string {
  return `Write an amount such as ${money(45 * 10 ** decimalsOf(currency), currency)}`;
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
