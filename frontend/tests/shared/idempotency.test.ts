import { describe, expect, test } from "vitest";

import { Problem } from "../../assets/src/shared/http";
import { IdempotentRequest, newKey } from "../../assets/src/shared/idempotency";

describe("the key of a request", () => {
  const succeed = (key: string) => Promise.resolve(key);

  /** The key of the repeat after this error. */
  async function keysAround(error: Error): Promise<[string, string]> {
    const request = new IdempotentRequest();
    let first = "";
    const fail = (key: string) => {
      first = key;
      return Promise.reject(error);
    };
    await expect(request.make("content", fail)).rejects.toBe(error);
    return [first, await request.make("content", succeed)];
  }

  test.each([
    ["no response", new Problem(0)],
    ["a 500", new Problem(500)],
    ["a 503", new Problem(503)],
  ])("stays after %s: the request may have taken effect", async (_, error) => {
    const [first, second] = await keysAround(error);
    expect(second).toBe(first);
  });

  test.each([
    ["a 402", new Problem(402)],
    ["a 409", new Problem(409)],
  ])("is new after %s: nothing happened", async (_, error) => {
    const [first, second] = await keysAround(error);
    expect(second).not.toBe(first);
  });

  test("is new for other content, and after a success", async () => {
    const request = new IdempotentRequest();
    await expect(request.make("a", () => Promise.reject(new Problem(0)))).rejects.toThrow();
    const other = await request.make("b", succeed);
    expect(await request.make("b", succeed)).not.toBe(other);
  });
});

test("keys are 128 random bits in hexadecimal", () => {
  const keys = new Set(Array.from({ length: 100 }, newKey));
  expect(keys.size).toBe(100);
  for (const key of keys) expect(key).toMatch(/^[0-9a-f]{32}$/);
});
