import { expect, test } from "vitest";

import { MAX_SHOWS, showsOf } from "../../assets/src/shared/use-user-feed";

type Order = Parameters<typeof showsOf>[0][number];

function order(status: Order["status"], ...shows: string[]): Order {
  return { status, tickets: shows.map((show_id) => ({ show_id })) as Order["tickets"] };
}

test("a page follows each show once of which the user holds or has tickets", () => {
  const orders = [
    order("pending", "a", "b"),
    order("completed", "b"),
    order("expired", "c"),
    order("refunded", "d"),
  ];
  expect(showsOf(orders)).toEqual(["a", "b"]);
});

test("the shows that a page follows are bounded", () => {
  const shows = Array.from({ length: MAX_SHOWS + 5 }, (_, n) => `show ${n}`);
  expect(showsOf([order("completed", ...shows)])).toHaveLength(MAX_SHOWS);
});
