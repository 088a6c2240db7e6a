import { afterEach, expect, test, vi } from "vitest";

import { BulkRequest, MAX_AT_ONCE } from "../../assets/src/sell/bulk-change";

interface Sent {
  ids: string[];
  key: string | undefined;
}

const sent: Sent[] = [];

/** Answers each request, or fails for those with these numbers. */
function respond(failing: readonly number[] = []) {
  vi.stubGlobal("fetch", (_url: string, init: RequestInit) => {
    const { ticket_ids } = JSON.parse(init.body as string) as { ticket_ids: string[] };
    const headers = init.headers as Record<string, string>;
    sent.push({ ids: ticket_ids, key: headers["Idempotency-Key"] });
    if (failing.includes(sent.length)) return Promise.reject(new TypeError("no network"));
    const items = ticket_ids.map((id) => ({
      id,
      ticket: null,
      error: id === "taken" ? { code: "ticket_taken", detail: "" } : null,
    }));
    return Promise.resolve(Response.json({ items }));
  });
}

afterEach(() => {
  sent.length = 0;
  vi.unstubAllGlobals();
});

test("more tickets than a request takes are sent in several", async () => {
  respond();
  const ids = Array.from({ length: MAX_AT_ONCE + 2 }, (_, number) => String(number));
  const shown: number[] = [];
  const outcome = await new BulkRequest().make(ids, { withdraw: true }, (items) => {
    shown.push(items.length);
  });
  expect(shown).toEqual([MAX_AT_ONCE, 2]);
  expect(outcome.changed.map(({ id }) => id)).toEqual(ids);
  expect(new Set(sent.map(({ key }) => key)).size).toBe(2);
});

test("each ticket has its own outcome", async () => {
  respond();
  const change = { price: 5000, currency: "EUR" };
  const ids = ["one", "taken", "two"];
  const { changed, refused } = await new BulkRequest().make(ids, change, () => undefined);
  expect(changed.map(({ id }) => id)).toEqual(["one", "two"]);
  expect(refused.map(({ id, error }) => [id, error?.code])).toEqual([["taken", "ticket_taken"]]);
});

test("a request without a response is repeated with its key", async () => {
  respond([1]);
  const request = new BulkRequest();
  const make = () => request.make(["one"], { withdraw: true }, () => undefined);
  await expect(make()).rejects.toMatchObject({ status: 0 });
  await make();
  expect(sent[0]?.key).toBe(sent[1]?.key);
  await make();
  expect(sent[2]?.key).not.toBe(sent[1]?.key);
});
