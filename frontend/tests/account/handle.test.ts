import { expect, test } from "vitest";

import { besideHandle, handleOf } from "../../assets/src/account/handle";
import { Problem } from "../../assets/src/shared/http";

test("a handle is compared as the API stores it", () => {
  expect(handleOf("  Quiet-Otter ")).toBe("quiet-otter");
});

test.each(["handle_taken", "too_many_handles"])("%s is an error of the field", async (code) => {
  const refused = besideHandle(() => Promise.reject(new Problem(409, { code })));
  await expect(refused).rejects.toMatchObject({ code, fieldErrors: [{ field: "handle" }] });
});

test("another refusal and a result stay as they are", async () => {
  const problem = new Problem(429, { code: "too_many_attempts" });
  await expect(besideHandle(() => Promise.reject(problem))).rejects.toBe(problem);
  await expect(besideHandle(() => Promise.resolve(1))).resolves.toBe(1);
});
