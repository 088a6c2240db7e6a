// Money as people type it. It is read digit by digit: no amount is ever a fraction.
import { digitsOf, money, THREE_DECIMAL, ZERO_DECIMAL } from "./format.js";

/** As backend/kernel/money.py has them, but for those of format.js. */
const TWO_DECIMAL = (
  "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC CVE CZK DKK " +
  "DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD KES KGS KHR KYD KZT LAK LBP LKR " +
  "LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB " +
  "SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST XCD YER ZAR ZMW"
).split(" ");

export const CURRENCIES = [...TWO_DECIMAL, ...ZERO_DECIMAL, ...THREE_DECIMAL].sort();

/**
 * Minor units: "45", "45,5", "€ 1.234,50" and "1,234.50" all say what they mean, and "500" in JPY is 500. Undefined when
 * it is no amount of that currency.
 */
export function minorUnits(text, currency) {
  const typed = text.replace(/[\s\u00a0\u202f'’]|\p{Sc}/gu, "");
  if (!/^\d[\d.,]*$/.test(typed)) return undefined;
  const digits = digitsOf(currency);
  const at = decimalPoint(typed, digits);
  const whole = typed.slice(0, at);
  const fraction = typed.slice(at + 1);
  if (fraction.length > digits || !isGrouped(whole)) return undefined;
  const amount = Number(whole.replace(/[.,]/g, "") + fraction.padEnd(digits, "0"));
  return Number.isSafeInteger(amount) ? amount : undefined;
}

/** What a person would type for an amount: "45.00". */
export function majorUnits(amount, currency) {
  const digits = digitsOf(currency);
  const padded = String(amount).padStart(digits + 1, "0");
  return digits ? `${padded.slice(0, -digits)}.${padded.slice(-digits)}` : padded;
}

export function amountHint(currency) {
  return `Write an amount such as ${money(45 * 10 ** digitsOf(currency), currency)}`;
}

/** Where the fraction begins: at the last mark, unless that can only divide thousands. */
function decimalPoint(typed, digits) {
  const at = Math.max(typed.lastIndexOf("."), typed.lastIndexOf(","));
  if (at < 0) return typed.length;
  const mark = typed[at];
  const after = typed.length - at - 1;
  const repeated = typed.indexOf(mark) !== at;
  return repeated || (after === 3 && digits !== 3) ? typed.length : at;
}

function isGrouped(whole) {
  return /^\d+$/.test(whole) || /^\d{1,3}(\.\d{3})+$/.test(whole) || /^\d{1,3}(,\d{3})+$/.test(whole);
}
