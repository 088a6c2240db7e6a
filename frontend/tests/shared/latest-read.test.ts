import { expect, test } from "vitest";

import { LatestRead } from "../../assets/src/shared/latest-read";

/** Reads that a test answers in any order. */
function reads() {
  const latest = new LatestRead();
  const requests: PromiseWithResolvers<string>[] = [];
  const read = () =>
    latest.run((signal) => {
      const request = Promise.withResolvers<string>();
      signal.addEventListener("abort", () => {
        request.reject(new DOMException("Aborted", "AbortError"));
      });
      requests.push(request);
      return request.promise;
    });
  const answer = (number: number, value: string) => requests[number]?.resolve(value);
  const fail = (number: number) => requests[number]?.reject(new Error("lost"));
  return { latest, read, answer, fail };
}

test("an older response after a newer one is dropped", async () => {
  const { read, answer } = reads();
  const [first, second] = [read(), read()];
  answer(1, "new");
  expect(await second).toBe("new");
  answer(0, "old");
  expect(await first).toBeUndefined();
});

test("responses in order are all used", async () => {
  const { read, answer } = reads();
  const [first, second] = [read(), read()];
  answer(0, "old");
  expect(await first).toBe("old");
  answer(1, "new");
  expect(await second).toBe("new");
});

test("an error is thrown and drops no other response", async () => {
  const { read, answer, fail } = reads();
  const [first, second] = [read(), read()];
  fail(1);
  await expect(second).rejects.toThrow("lost");
  answer(0, "old");
  expect(await first).toBe("old");
});

test("after close the responses are dropped without an error, and open starts anew", async () => {
  const { latest, read, answer } = reads();
  const first = read();
  latest.close();
  expect(await first).toBeUndefined();
  latest.open();
  const second = read();
  answer(1, "fresh");
  expect(await second).toBe("fresh");
});
