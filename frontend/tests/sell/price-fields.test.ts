import { expect, it } from "vitest";

import { withPriceMessages } from "../../assets/src/sell/price-fields";
import type { FieldError } from "../../assets/src/shared/api-types";
import { Problem } from "../../assets/src/shared/http";

async function reworded(error: FieldError): Promise<FieldError | undefined> {
  const refuse = () => Promise.reject(new Problem(422, { errors: [error] }));
  const problem: unknown = await withPriceMessages("EUR", refuse).catch(
    (caught: unknown) => caught,
  );
  return problem instanceof Problem ? problem.fieldErrors[0] : undefined;
}

it("shows the bounds of a price in the currency's own units", async () => {
  const message = "must be an integer from 1 to 99999999";
  const error = { field: "tickets[3].price", message, minimum: 1, maximum: 99_999_999 };
  expect(await reworded(error)).toMatchObject({
    field: "price",
    message: "must be from €0.01 to €999,999.99",
  });
});

it("keeps the message of a field without bounds", async () => {
  const error = { field: "seat", message: "must have at most 40 characters" };
  expect(await reworded(error)).toEqual(error);
});
