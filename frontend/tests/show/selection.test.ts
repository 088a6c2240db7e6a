import { beforeEach, expect, test } from "vitest";

import { Selection } from "../../assets/src/show/selection";
import { stubBrowser } from "../browser";

const harbour = {
  venue: "Harbour Hall",
  city: "Delft",
  starts_at: "2026-12-09T19:00:00Z",
  timezone: "Europe/Amsterdam",
};
const river = { ...harbour, venue: "River Hall" };

beforeEach(() => {
  stubBrowser();
});

test("a selection keeps the place at which its first ticket was selected", () => {
  const selection = new Selection("show");
  selection.recordPlace(harbour);
  expect(selection.place).toBeNull();
  selection.toggle("one");
  selection.recordPlace(harbour);
  selection.toggle("two");
  selection.recordPlace(river);
  expect(selection.place).toEqual(harbour);
  // After a sign-in on the way too.
  expect(new Selection("show").place).toEqual(harbour);
});

test("the place of a refusal replaces it, and an empty selection forgets it", () => {
  const selection = new Selection("show");
  selection.toggle("one");
  selection.recordPlace(harbour);
  selection.confirmPlace(river);
  expect(selection.place).toEqual(river);
  selection.toggle("one");
  expect(selection.place).toBeNull();
  expect(new Selection("show").place).toBeNull();
});
