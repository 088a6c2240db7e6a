import { expect, it } from "vitest";

import { minimumText, withPriceMessages } from "../../assets/src/sell/price-fields";
import type { FieldError } from "../../assets/src/shared/api-types";
import { Problem } from "../../assets/src/shared/http";

async function reworded(error: FieldError): Promise<FieldError | undefined> {
  const refuse = () => Promise.reject(new Problem(422, { errors: [error] }));
  const problem: unknown = await withPriceMessages("EUR", refuse).catch(
    (caught: unknown) => caught,
  );
  return problem instanceof Problem ? problem.fieldErrors[0] : undefined;
}

it.each([
  [{ minimum: 1 }, "at least €0.01"],
  [{ maximum: 99_999_999 }, "at most €999,999.99"],
])("shows the bound of a price in the currency's own units", async (bound, message) => {
  const error = { field: "tickets[3].price", message: "must be an integer", ...bound };
  expect(await reworded(error)).toMatchObject({ field: "price", message });
});

it("keeps the message of a field without bounds", async () => {
  const error = { field: "seat", message: "must have at most 40 characters" };
  expect(await reworded(error)).toEqual(error);
});

it("shows the lowest price in the currency's own units", () => {
  expect(minimumText(50, "EUR")).toContain("at least €0.50");
  expect(minimumText(50, "JPY")).toContain("at least ¥50");
});
