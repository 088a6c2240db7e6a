// The currencies that Stripe takes, and their rules. Stripe's minor units differ from those of the
// browser's own tables for some.
import { CURRENCY_TABLE } from "./currency-table";

/** The rules of a currency, in minor units; backend/currencies.py explains them. */
export interface CurrencyRules {
  /** The decimals of our amounts. */
  exponent: number;
  /** The decimals that people see. */
  digits: number;
  /** A price is a multiple of it. */
  step: number;
  minimum: number;
  maximumPrice: number;
  /** The most that one payment takes. */
  maximum: number;
}

export const CURRENCIES = Object.keys(CURRENCY_TABLE);

export function rulesOf(currency: string): CurrencyRules {
  const [exponent, , digits, step, minimum, maximumPrice, maximum] = rowOf(currency);
  return { exponent, digits, step, minimum, maximumPrice, maximum };
}

export function decimalsOf(currency: string): number {
  return rowOf(currency)[0];
}

/** The decimals that people see, or all of them where the hidden ones are not zero. */
export function shownDecimals(amount: number, currency: string): number {
  const { exponent, digits } = rulesOf(currency);
  return amount % 10 ** (exponent - digits) ? exponent : digits;
}

/** Our amount in the units that Stripe takes. */
export function toWire(amount: number, currency: string): number {
  const [exponent, wireExponent] = rowOf(currency);
  return amount * 10 ** (wireExponent - exponent);
}

/** A currency of a later version of the API reads as one with cents and no bounds. */
const UNKNOWN = [2, 2, 2, 1, 1, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER] as const;

function rowOf(currency: string) {
  return CURRENCY_TABLE[currency] ?? UNKNOWN;
}
