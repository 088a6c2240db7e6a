import { expect, it } from "vitest";

import { amountsOf, withTicketMessages } from "../../assets/src/sell/price-fields";
import type { FieldError } from "../../assets/src/shared/api-types";
import { Problem } from "../../assets/src/shared/http";

async function reworded(error: FieldError): Promise<FieldError | undefined> {
  const refuse = () => Promise.reject(new Problem(422, { errors: [error] }));
  const problem: unknown = await withTicketMessages("EUR", "seats", refuse).catch(
    (caught: unknown) => caught,
  );
  return problem instanceof Problem ? problem.fieldErrors[0] : undefined;
}

it.each([
  [{ minimum: 1 }, "at least €0.01"],
  [{ maximum: 66_666_666 }, "at most €666,666.66"],
  [{ step: 10 }, "in steps of €0.10"],
])("shows the bound of a price in the currency's own units", async (bound, message) => {
  const error = { field: "tickets[3].price", message: "must be an integer", ...bound };
  expect(await reworded(error)).toMatchObject({ field: "price", message });
});

it("keeps the message of a field without bounds", async () => {
  const error = { field: "seat", message: "must have at most 40 characters" };
  expect(await reworded(error)).toEqual(error);
});

it("shows taken seats at the field of the form that names them", async () => {
  const errors = [{ field: "tickets[3].seat", message: "must be free: row A, seat 3" }];
  const refuse = () =>
    Promise.reject(new Problem(409, { code: "seat_taken", detail: "A 3 is listed", errors }));
  const problem: unknown = await withTicketMessages("EUR", "seats", refuse).catch(
    (caught: unknown) => caught,
  );
  expect((problem as Problem).messageFor("seats")).toBe("A 3 is listed");
});

it.each([
  ["0.10", "EUR", /at least €0\.50/],
  ["49", "JPY", /at least ¥50/],
  ["5.135", "KWD", /steps of KWD.0\.010: write KWD.5\.140/],
  ["700000", "EUR", /at most €666,666\.66/],
  ["4.50", "UGX", /such as/],
])("rejects a price of %s %s before it is sent, with what to do", (price, currency, message) => {
  expect(amountsOf({ price, face_value: "", currency }).messages.price).toMatch(message);
});

it("accepts a face value below the lowest price, in the steps of the currency", () => {
  const messages = (face_value: string) =>
    amountsOf({ price: "5000", face_value, currency: "ISK" }).messages;
  expect(messages("1")).toEqual({});
  expect(messages("1.50").face_value).toMatch(/steps of/);
});
