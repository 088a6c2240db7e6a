import { describe, expect, test } from "vitest";

import { MAX_TICKETS, seatLabels } from "../../assets/src/sell/seat-labels";

describe("seatLabels", () => {
  test.each([
    ["", []],
    [" , ", []],
    ["A", ["A"]],
    ["a-c", ["a", "b", "c"]],
    ["A, C, F", ["A", "C", "F"]],
    ["A-B, AA", ["A", "B", "AA"]],
    ["1-3, 7", ["1", "2", "3", "7"]],
    ["B-12", ["B-12"]],
    ["A–C, F", ["A", "B", "C", "F"]],
    ["1-5", ["1", "2", "3", "4", "5"]],
    ["3, 4 ,7", ["3", "4", "7"]],
    ["08—11", ["08", "09", "10", "11"]],
    ["б-д", ["б", "в", "г", "д"]],
    // No ranges: each is the label of one seat or row.
    ["A-3", ["A-3"]],
    ["AA-BB", ["AA-BB"]],
    ["Box 1-2", ["Box 1-2"]],
    ["1-2-3", ["1-2-3"]],
  ])("%j names %j", (text, labels) => {
    expect(seatLabels(text)).toEqual(labels);
  });

  test("the largest range has as many labels as tickets can be listed at once", () => {
    expect(seatLabels(`1-${MAX_TICKETS}`)).toHaveLength(MAX_TICKETS);
  });

  test.each([
    ["1, 2, 1", "1 is named twice"],
    ["1-5, 3", "3 is named twice"],
    ["C-A", "C-A runs backwards"],
    ["20-1", "20-1 runs backwards"],
    ["0-2000", "2000 at most"],
    ["1-999999999", "2000 at most"],
    ["x".repeat(41), "40 characters at most"],
  ])("%j is rejected: %s", (text, message) => {
    expect(() => seatLabels(text)).toThrow(new RangeError(message));
  });
});
