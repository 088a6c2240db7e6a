import { describe, expect, test } from "vitest";

import { amountHint, majorUnits, minorUnits, priceObstacle } from "../../assets/src/shared/amounts";
import { CURRENCIES, decimalsOf, rulesOf, toWire } from "../../assets/src/shared/currencies";
import { money } from "../../assets/src/shared/format";
import { costOf } from "../../assets/src/shared/tickets";

describe("minorUnits", () => {
  test.each([
    ["45", "EUR", 4500],
    ["45,5", "EUR", 4550],
    ["45.5", "EUR", 4550],
    ["45,50", "EUR", 4550],
    ["€ 45.50", "EUR", 4550],
    ["1.234,50", "EUR", 123450],
    ["45.05", "EUR", 4505],
    [" € 1.234,50 ", "EUR", 123450],
    ["1,234.50", "USD", 123450],
    ["1'234.50", "CHF", 123450],
    ["1 234,50", "EUR", 123450],
    ["1,234", "EUR", 123400],
    ["1.234", "EUR", 123400],
    ["1.234.567", "EUR", 123456700],
    ["0.29", "EUR", 29],
    ["500", "JPY", 500],
    ["¥1,500", "JPY", 1500],
    ["45.055", "JPY", 45055],
    ["1", "KWD", 1000],
    ["1.5", "KWD", 1500],
    ["1.234", "KWD", 1234],
    ["12,345.678", "KWD", 12345678],
    ["0", "EUR", 0],
  ])("%j in %s is %d", (text, currency, amount) => {
    expect(minorUnits(text, currency)).toBe(amount);
  });

  test.each([
    ["", "EUR"],
    ["free", "EUR"],
    ["-5", "EUR"],
    ["1e3", "EUR"],
    ["45.5555", "EUR"],
    ["4.567,8,9", "EUR"],
    ["12,34,56", "EUR"],
    ["1.23.45", "EUR"],
    ["1.5", "JPY"],
    ["1.2345", "KWD"],
    [".50", "EUR"],
    ["99999999999999999", "EUR"],
  ])("%j is no amount in %s", (text, currency) => {
    expect(minorUnits(text, currency)).toBeUndefined();
  });
});

test.each([
  [4500, "EUR", "45.00"],
  [5, "EUR", "0.05"],
  [500, "JPY", "500"],
  [1200, "JPY", "1200"],
  [1234, "KWD", "1.234"],
  [1, "KWD", "0.001"],
  [1234567, "KWD", "1234.567"],
])("majorUnits of %d %s is %s", (amount, currency, text) => {
  expect(majorUnits(amount, currency)).toBe(text);
});

test("an amount that is written out is read back, in every currency", () => {
  for (const currency of CURRENCIES) {
    for (const amount of [0, 1, 999, 1000, 123456]) {
      expect(minorUnits(majorUnits(amount, currency), currency), currency).toBe(amount);
    }
  }
});

test("the hint is an amount of the currency", () => {
  expect(amountHint("EUR")).toContain("45.00");
  expect(amountHint("JPY")).toMatch(/100$/);
  expect(amountHint("UGX")).toContain("5,000");
  expect(amountHint("KWD")).toContain("45.000");
});

test("a currency without fractions is shown without, unless an old amount has one", () => {
  expect(majorUnits(5000_00, "ISK")).toBe("5000");
  expect(majorUnits(5000_50, "ISK")).toBe("5000.50");
  expect(minorUnits("5000", "ISK")).toBe(5000_00);
  expect(money(5000_00, "ISK")).toMatch(/^kr.5,000$/);
});

test("Stripe's units differ from ours for UGX alone", () => {
  const differing = CURRENCIES.filter((currency) => toWire(1, currency) !== 1);
  expect(differing).toEqual(["UGX"]);
  expect(toWire(2500, "UGX")).toBe(250000);
});

test("the lowest and the highest price of each currency can be paid", () => {
  for (const currency of CURRENCIES) {
    const { minimum, maximumPrice, maximum, step } = rulesOf(currency);
    for (const price of [minimum, minimum + step, maximumPrice]) {
      expect(priceObstacle(price, currency), currency).toBeUndefined();
      for (const percent of [0, 2.5, 5, 50]) {
        const { total } = costOf([{ price }], percent, currency);
        expect(total % step, currency).toBe(0);
        expect(total, currency).toBeLessThanOrEqual(maximum);
      }
    }
    expect(priceObstacle(minimum - step, currency), currency).toBeDefined();
    expect(priceObstacle(maximumPrice + step, currency), currency).toBeDefined();
    if (step > 1) expect(priceObstacle(minimum + 1, currency), currency).toMatch(/steps of/);
  }
});

test("every currency is listed once", () => {
  expect(new Set(CURRENCIES).size).toBe(CURRENCIES.length);
  expect(decimalsOf("JPY")).toBe(0);
  expect(decimalsOf("KWD")).toBe(3);
  expect(decimalsOf("EUR")).toBe(2);
});
