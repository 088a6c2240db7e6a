import { expect, test } from "vitest";

import { listingPlan, type ListingValues, repeatedSeats } from "../../assets/src/sell/listing-plan";

const BLANK: ListingValues = {
  kind: "seats",
  section: "Balcony",
  rows: "A-B",
  seats: "1-3",
  count: "1",
  price: "45",
  currency: "EUR",
  face_value: "",
};

test("a block has a ticket for each seat of each row", () => {
  const { specs, messages } = listingPlan(BLANK);
  expect(messages).toEqual({});
  expect(specs.map(({ row, seat }) => `${row ?? ""}${seat ?? ""}`)).toEqual([
    "A1",
    "A2",
    "A3",
    "B1",
    "B2",
    "B3",
  ]);
  expect(specs[0]).toEqual({
    section: "Balcony",
    row: "A",
    seat: "1",
    price: 4500,
    face_value: null,
    currency: "EUR",
  });
});

test("seats need no row", () => {
  const { specs } = listingPlan({ ...BLANK, rows: "" });
  expect(specs.map(({ row }) => row)).toEqual([null, null, null]);
});

test("tickets without seats are counted", () => {
  const values: ListingValues = { ...BLANK, kind: "standing", section: "", count: "4" };
  const { specs } = listingPlan(values);
  expect(specs).toHaveLength(4);
  expect(specs[0]).toEqual({ section: null, price: 4500, face_value: null, currency: "EUR" });
});

test.each<[Partial<ListingValues>, Record<string, string>]>([
  [{ seats: "" }, { seats: "name the seats" }],
  [{ rows: "C-A" }, { rows: "C-A runs backwards" }],
  [{ rows: "1-50", seats: "1-50" }, { seats: "2000 tickets at once, at most" }],
  [{ kind: "standing", count: "0" }, { count: "a number from 1 on" }],
  [{ kind: "standing", count: "2.5" }, { count: "a number from 1 on" }],
  [{ kind: "standing", count: "2001" }, { count: "2000 tickets at once, at most" }],
])("%j lists nothing", (changes, messages) => {
  const plan = listingPlan({ ...BLANK, ...changes });
  expect(plan.messages).toEqual(messages);
  expect(plan.specs).toEqual([]);
});

test("an amount that cannot be read has a message and no price", () => {
  const plan = listingPlan({ ...BLANK, price: "a lot", face_value: "12,34,56" });
  expect(plan.price).toBeUndefined();
  expect(Object.keys(plan.messages)).toEqual(["price", "face_value"]);
});

test("seats that the seller lists already are counted, tickets without seats are not", () => {
  const listed = [
    { section: "Balcony", row: "A", seat: "1" },
    { section: "Stalls", row: "A", seat: "2" },
    { section: "Balcony", row: null, seat: null },
  ];
  expect(repeatedSeats(listingPlan(BLANK).specs, listed)).toBe(1);
  const standing = listingPlan({ ...BLANK, kind: "standing" }).specs;
  expect(repeatedSeats(standing, listed)).toBe(0);
});
