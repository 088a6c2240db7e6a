import { expect, test } from "vitest";

import { isWanted, NO_FILTER, priceOptions } from "../../assets/src/show/ticket-filters";
import { ticket } from "../factories";

test("prices are offered and compared within a currency", () => {
  const yen = ticket({ price: 1_234_567, currency: "JPY" });
  const dinar = ticket({ price: 1_234_560, currency: "KWD" });
  const options = priceOptions([yen, dinar]);
  expect(options.map(([value]) => value)).toEqual(["1234567 JPY", "1234560 KWD"]);
  expect(options[0]?.[1]).toBe("Up to ¥1,234,567");
  const upTo = { ...NO_FILTER, maxPrice: "1234567 JPY" };
  expect([isWanted(yen, upTo), isWanted(dinar, upTo)]).toEqual([true, false]);
});

test("a show of one currency does not offer its highest price", () => {
  const tickets = [ticket({ price: 4500 }), ticket({ price: 6000 })];
  expect(priceOptions(tickets)).toEqual([["4500 EUR", "Up to €45"]]);
  expect(priceOptions(tickets.slice(1))).toEqual([]);
});
