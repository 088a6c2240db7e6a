import { expect, test } from "vitest";

import type { Ticket } from "../../assets/src/shared/api-types";
import { placeKey, placesFor, proposalsOf } from "../../assets/src/show/choosing";
import { seatRows, seatStep } from "../../assets/src/show/seat-rows";
import { ticket } from "../factories";

/** A row of seats from 1 on: "." is free, "h" held, "s" sold, and " " is not for sale. */
function row(states: string, members: Partial<Ticket> = {}): Ticket[] {
  return states.split("").flatMap((state, index) => {
    if (state === " ") return [];
    const status = ({ h: "reserved", s: "sold" } as const)[state] ?? "available";
    return ticket({ row: "A", seat: String(index + 1), status, ...members });
  });
}

const best = (tickets: readonly Ticket[], quantity: number, limit = 1) =>
  proposalsOf(tickets, { quantity, userId: undefined, limit });
const seats = (tickets: readonly Ticket[], quantity: number) =>
  best(tickets, quantity)[0]?.tickets.map(({ seat }) => Number(seat));

test.each([
  // No single seat is left, beside the first seat or between two groups.
  ["two of five", ".....", 2, [1, 2]],
  ["two of three", "...", 2, [1, 2]],
  ["two of four, not the middle", "....", 2, [1, 2]],
  ["three of five beside a sold seat", "s.....", 3, [2, 3, 4]],
  ["a gap of the exact size", ".....s..", 2, [1, 2]],
  ["not across a held seat", ".h...", 2, [3, 4]],
  ["not across a sold seat", ".s..", 2, [3, 4]],
  ["not across a seat that nobody sells", ". ..", 2, [3, 4]],
  ["seven of nine avoids two singles", ".........", 7, [1, 2, 3, 4, 5, 6, 7]],
])("%s: %s", (_, states, quantity, wanted) => {
  expect(seats(row(states), quantity)).toEqual(wanted);
});

test("one that fills a gap comes before one that leaves a single seat at the same price", () => {
  const tickets = [...row("..."), ...row("..", { section: "Floor" })];
  const [first, second] = best(tickets, 2, 2);
  expect(first?.tickets.map(({ section }) => section)).toEqual(["Floor", "Floor"]);
  expect([first?.singles, second?.singles]).toEqual([0, 1]);
});

test("a cheaper one comes first, whatever it leaves", () => {
  const tickets = [...row("...", { price: 1000 }), ...row("..", { section: "Floor" })];
  expect(best(tickets, 2)[0]).toMatchObject({ total: 2000, singles: 1 });
});

test("the cheapest seats of a gap are chosen among those that leave no single seat", () => {
  const tickets = row("......");
  tickets.slice(4).forEach((each) => (each.price = 1000));
  tickets.slice(1, 3).forEach((each) => (each.price = 500));
  // Seats 2 and 3 are the cheapest, and would leave seat 1.
  expect(seats(tickets, 2)).toEqual([5, 6]);
});

test("odd seats of a theatre are neighbours; seats of another letter are not", () => {
  const odd = ["1", "3", "5"].map((seat) => ticket({ row: "A", seat }));
  expect(seatStep(odd)).toBe(2);
  expect(seats(odd, 3)).toEqual([1, 3, 5]);
  const letters = ["A1", "B2"].map((seat) => ticket({ row: "A", seat }));
  expect(best(letters, 2)[0]?.together).toBe(false);
});

test("rows and sections are not crossed, and tickets apart come only without any together", () => {
  const apart = [...row("."), ...row(".", { row: "B" }), ...row(".", { section: "Floor" })];
  const found = best(apart, 2, 5);
  expect(found).toHaveLength(1);
  expect(found[0]?.together).toBe(false);
  expect(best([...apart, ...row("..", { row: "C" })], 2, 5).every((each) => each.together)).toBe(
    true,
  );
  expect(best(apart, 4)).toEqual([]);
});

test("tickets without a seat are together in their section, the cheapest first", () => {
  const standing = [3000, 1000, 2000].map((price) => ticket({ section: "Floor", price }));
  expect(best(standing, 2)[0]).toMatchObject({ total: 3000, together: true });
});

test("a proposal has one currency, neither own nor hidden nor unwanted tickets", () => {
  const tickets = row("......");
  Object.assign(tickets[1] ?? {}, { currency: "USD" });
  Object.assign(tickets[2] ?? {}, { seller_id: "me" });
  Object.assign(tickets[3] ?? {}, { hidden: true });
  const wanted = { quantity: 2, userId: "me" };
  expect(proposalsOf(tickets, wanted)[0]?.tickets.map(({ seat }) => seat)).toEqual(["5", "6"]);
  const isWanted = ({ seat }: Ticket) => seat !== "6";
  expect(proposalsOf(tickets, { ...wanted, isWanted })[0]?.together).toBe(false);
});

test("the places for a quantity are those with a gap of the size", () => {
  const tickets = [...row(".h.."), ...row("...", { row: "B" })];
  const places = placesFor(tickets, 3, undefined);
  expect(tickets.filter((each) => places.has(placeKey(each))).map((each) => each.row)).toEqual([
    "B",
    "B",
    "B",
  ]);
});

test("a row of fewer than four seats has no strip", () => {
  const { rows, others } = seatRows([...row("...."), ...row("...", { row: "B" }), ticket()]);
  expect(rows.map(({ name, tickets }) => [name, tickets.length])).toEqual([["A", 4]]);
  expect(others).toHaveLength(4);
});

/** Numbers of a small linear congruential generator: the same ones in each run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

test("for any hall, proposals are neighbours, ranked, and leave no single seat needlessly", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = numbers(seed);
    const quantity = 1 + Math.floor(random() * 8);
    const tickets = ["A", "B", "C"].flatMap((name) => {
      const states = Array.from({ length: 16 }, () => "...hs "[Math.floor(random() * 6)]).join("");
      return row(states, { row: name }).map((each) => ({
        ...each,
        price: 1000 + 500 * Math.floor(random() * 3),
      }));
    });
    const free = new Map(
      tickets
        .filter(({ status }) => status === "available")
        .map((each) => [`${each.row}${each.seat}`, each]),
    );
    const found = best(tickets, quantity, 100);
    const sums = found.map(({ total }) => total);
    expect(sums).toEqual(sums.toSorted((one, other) => one - other));
    for (const { tickets: chosen, together, singles, total } of found) {
      expect(chosen).toHaveLength(quantity);
      expect(new Set(chosen.map(({ id }) => id)).size).toBe(quantity);
      expect(chosen.every(({ status }) => status === "available")).toBe(true);
      expect(total).toBe(chosen.reduce((sum, { price }) => sum + price, 0));
      if (!together) continue;
      const [name] = new Set(chosen.map((each) => each.row));
      const places = chosen.map(({ seat }) => Number(seat));
      expect(places).toEqual(places.map((_, index) => (places[0] ?? 0) + index));
      if (singles === 0) continue;
      // Every other place in this gap leaves a single seat too.
      let first = places[0] ?? 0;
      let last = first;
      while (free.has(`${name}${first - 1}`)) first -= 1;
      while (free.has(`${name}${last + 1}`)) last += 1;
      for (let start = first; start + quantity - 1 <= last; start += 1) {
        const [before, after] = [start - first, last - (start + quantity - 1)];
        expect(before === 1 || after === 1).toBe(true);
      }
    }
  }
});

test("each change of a hall changes the proposals at once", () => {
  const tickets = row("......");
  expect(seats(tickets, 2)).toEqual([1, 2]);
  Object.assign(tickets[0] ?? {}, { status: "reserved" });
  expect(seats(tickets, 2)).toEqual([2, 3]);
  Object.assign(tickets[2] ?? {}, { status: "sold" });
  expect(seats(tickets, 2)).toEqual([4, 5]);
  Object.assign(tickets[0] ?? {}, { status: "available" });
  // Seats 1 and 2 leave no single seat; seats 4 and 5 would leave seat 6.
  expect(seats(tickets, 2)).toEqual([1, 2]);
});
