import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import {
  availabilityOf,
  bySection,
  costOf,
  countTickets,
  groupTickets,
  isListed,
  isOffered,
} from "../../assets/src/shared/tickets";
import { useFakeTime } from "../browser";
import { ticket } from "../factories";

beforeEach(() => {
  useFakeTime("2026-11-30T12:00:00Z");
});
afterEach(() => {
  vi.useRealTimers();
});

const held = (held_until: string) => ticket({ status: "held", held_until });

describe("availabilityOf", () => {
  test("a hold past its time is free", () => {
    expect(availabilityOf(held("2026-11-30T12:00:01Z"))).toBe("held");
    expect(availabilityOf(held("2026-11-30T12:00:00Z"))).toBe("free");
  });

  test.each([
    ["available", "free"],
    ["reserved", "paying"],
    ["sold", "sold"],
    ["withdrawn", "sold"],
  ] as const)("a ticket that is %s is %s", (status, availability) => {
    expect(availabilityOf(ticket({ status }))).toBe(availability);
  });
});

test("counts have the lowest price of a free ticket in each currency", () => {
  const tickets = [
    ticket({ price: 6000 }),
    ticket({ price: 5000 }),
    ticket({ price: 3000, currency: "USD" }),
    ticket({ price: 1000, status: "sold" }),
    ticket({ price: 500, status: "reserved" }),
    held("2026-11-30T12:00:30Z"),
  ];
  expect(countTickets(tickets)).toEqual({
    free: 3,
    held: 2,
    sold: 1,
    from: [
      { price: 5000, currency: "EUR" },
      { price: 3000, currency: "USD" },
    ],
  });
  expect(countTickets([]).from).toEqual([]);
});

test("a withdrawn ticket counts as neither sold nor free", () => {
  const tickets = [ticket({ status: "sold" }), ticket({ status: "withdrawn" })];
  expect(countTickets(tickets)).toEqual({ free: 0, held: 0, sold: 1, from: [] });
});

test("sections, rows and seats are in natural order, tickets without a seat by price", () => {
  const tickets = [
    ticket({ section: "Block 10", row: "A", seat: "1" }),
    ticket({ section: "Block 2", row: "B", seat: "10" }),
    ticket({ section: "Block 2", row: "B", seat: "9" }),
    ticket({ section: "Block 2", row: "A", seat: "30" }),
    ticket({ section: null, price: 900 }),
    ticket({ section: null, price: 950, currency: "USD" }),
    ticket({ section: null, price: 10000 }),
  ];
  const sections = bySection(tickets).map(([name, inSection]) => [
    name,
    inSection.map(({ row, seat, price }) => (row && seat ? `${row}${seat}` : String(price))),
  ]);
  expect(sections).toEqual([
    ["Block 2", ["A30", "B9", "B10"]],
    ["Block 10", ["A1"]],
    ["Tickets", ["900", "10000", "950"]],
  ]);
});

test("tickets without a seat that differ in nothing share a row; a picked one has its own", () => {
  const [one, two, three] = [ticket(), ticket(), ticket()];
  const other = ticket({ price: 5000 });
  const seated = ticket({ row: "A", seat: "1" });
  const groups = groupTickets([one, two, three, other, seated], (id) => id === two.id);
  expect(groups.map(({ tickets }) => tickets)).toEqual([[one, three], [two], [other], [seated]]);
});

test.each([
  ["a title with a comma", "Pit, left", "Pit"],
  ["no title and the title null", null, "null"],
  ["no title and a title of one comma", null, ","],
])("tickets without a seat share no row: %s", (_, title, otherTitle) => {
  const [one, other] = [ticket({ title }), ticket({ title: otherTitle })];
  const groups = groupTickets([one, other], () => false);
  expect(groups.map(({ tickets }) => tickets)).toEqual([[one], [other]]);
});

test("the fee is rounded once, half away from zero", () => {
  expect(costOf([{ price: 4500 }], 10, "EUR")).toEqual({ subtotal: 4500, fee: 450, total: 4950 });
  expect(costOf([{ price: 1 }, { price: 4 }], 10, "EUR").fee).toBe(1);
  expect(costOf([{ price: 4 }], 10, "EUR").fee).toBe(0);
  expect(costOf([], 10, "EUR").total).toBe(0);
});

test.each([
  ["KWD", [5130], 5, 260],
  ["ISK", [1_050_00], 5, 53_00],
  ["UGX", [2550], 5, 128],
  // A ticket from before the rule: the fee completes the step.
  ["KWD", [5131], 0, 9],
])("the total ends in the step of %s", (currency, prices, percent, fee) => {
  const tickets = prices.map((price) => ({ price }));
  expect(costOf(tickets, percent, currency).fee).toBe(fee);
});

describe("a hidden ticket", () => {
  test("is neither listed nor offered", () => {
    expect(isListed(ticket())).toBe(true);
    expect(isOffered(ticket())).toBe(true);
    expect(isListed(ticket({ hidden: true }))).toBe(false);
    expect(isOffered(ticket({ hidden: true }))).toBe(false);
  });

  test("is not offered when the hold on it ends", () => {
    const held_until = "2026-11-30T11:59:59Z";
    expect(isOffered(ticket({ status: "held", held_until }))).toBe(true);
    expect(isOffered(ticket({ status: "held", held_until, hidden: true }))).toBe(false);
  });
});
