import { beforeEach, describe, expect, test, vi } from "vitest";

import { useFakeTime } from "../browser";

type Reach = typeof import("../../assets/src/shared/reach");
let reach: Reach;

beforeEach(async () => {
  vi.stubGlobal("navigator", { onLine: true });
  vi.resetModules();
  reach = await import("../../assets/src/shared/reach");
});

const problem = (status: number, code?: string, headers = {}) =>
  Response.json({ code }, { status, headers });

test.each([
  [502, undefined],
  [502, "temporarily_unavailable"],
  [503, "temporarily_unavailable"],
  [504, "gateway_timeout"],
])("a reply of %d %s is an outage", async (status, code) => {
  await reach.noteResponse("/api/orders", problem(status, code));
  expect(reach.reach.value).toBe("unavailable");
});

test("so is the reply of a proxy that knows no problems", async () => {
  await reach.noteResponse("/api/orders", new Response("<h1>Bad gateway</h1>", { status: 502 }));
  expect(reach.reach.value).toBe("unavailable");
});

test.each([
  [200, undefined],
  [409, "ticket_unavailable"],
  [429, "too_many_requests"],
  [500, "internal_error"],
  // The bank of the payment does not answer; the shop does.
  [503, "payment_provider_unavailable"],
  [503, "busy"],
])("a reply of %d %s is none", async (status, code) => {
  await reach.noteResponse("/api/payments", problem(status, code));
  expect(reach.reach.value).toBe("reached");
});

test("without a reply the shop is unreachable, and only without a network offline", () => {
  reach.noteSilence("/api/orders");
  expect(reach.reach.value).toBe("unreachable");
  vi.stubGlobal("navigator", { onLine: false });
  reach.noteSilence("/api/orders");
  expect(reach.reach.value).toBe("offline");
});

test("a reply that comes though the browser believes to be offline shows the shop", async () => {
  vi.stubGlobal("navigator", { onLine: false });
  reach.noteOffline();
  expect(reach.reach.value).toBe("offline");
  await reach.noteResponse("/shop.json", problem(200));
  expect(reach.reach.value).toBe("reached");
});

test("the reply of one service does not hide that another fails", async () => {
  reach.noteSilence("/api/orders?limit=20");
  await reach.noteResponse("/api/users/currentuser", problem(200));
  expect(reach.reach.value).toBe("unreachable");
  await reach.noteResponse("/api/orders/1", problem(404));
  expect(reach.reach.value).toBe("reached");
});

test("once the network is back, nothing counts that failed without it", () => {
  reach.noteSilence("/api/orders");
  reach.noteOffline();
  reach.noteOnline();
  expect(reach.reach.value).toBe("reached");
});

describe("recovery", () => {
  const GOOD = () => Promise.resolve();
  let reads: number[];
  let began: number;
  let probes: string[];
  let answers: () => Promise<unknown>;
  let probed: (url: string) => Promise<unknown>;
  let setPushLost: (lost: boolean) => void;

  beforeEach(async () => {
    useFakeTime();
    vi.resetModules();
    reach = await import("../../assets/src/shared/reach");
    const { Recovery } = await import("../../assets/src/shared/recovery");
    began = performance.now();
    [reads, probes, answers, probed] = [[], [], GOOD, GOOD];
    const recovery = new Recovery(
      () => {
        reads.push(performance.now() - began);
        return answers();
      },
      (url) => {
        probes.push(url);
        return probed(url);
      },
    );
    setPushLost = (lost) => {
      recovery.setPushLost(lost);
    };
    return () => {
      vi.useRealTimers();
      vi.restoreAllMocks();
    };
  });

  const wait = (ms: number) => vi.advanceTimersByTimeAsync(ms);
  const gaps = () => reads.slice(1).map((at, index) => at - (reads[index] ?? 0));

  test("sends nothing while the shop answers and messages come", async () => {
    await wait(600_000);
    expect([reads, probes]).toEqual([[], []]);
  });

  test("reads every 0.75 s to 3.75 s, after minutes as well", async () => {
    const failed = () => {
      reach.noteSilence("/api/tickets");
      return GOOD();
    };
    answers = failed;
    reach.noteSilence("/api/tickets");
    await wait(600_000);
    expect(reads.length).toBeGreaterThan(600_000 / 3750 - 1);
    expect(Math.max(...gaps())).toBeLessThanOrEqual(3750);
    expect(Math.min(...gaps())).toBeGreaterThanOrEqual(750);
    // Ten minutes later the pages of all visitors read at other times.
    expect(new Set(gaps().map(Math.round)).size).toBeGreaterThan(50);
  });

  test("stops when the shop answers", async () => {
    reach.noteSilence("/api/tickets");
    answers = () => reach.noteResponse("/api/tickets", problem(200));
    await wait(60_000);
    expect(reads).toHaveLength(1);
    expect(reach.reach.value).toBe("reached");
  });

  test("asks a service that no read concerns for itself", async () => {
    reach.noteSilence("/api/payments");
    probed = (url) => reach.noteResponse(url, problem(405));
    await wait(60_000);
    expect(probes).toEqual(["/api/payments"]);
    expect(reach.reach.value).toBe("reached");
  });

  test("does not wait for a read that gets no answer", async () => {
    reach.noteSilence("/api/tickets");
    answers = () => new Promise(() => undefined);
    await wait(60_000);
    expect(Math.max(...gaps())).toBeLessThanOrEqual(3750 + 4000);
  });

  test("waits as long as the server wishes, up to a minute", async () => {
    const busy = (seconds: string) => () =>
      reach.noteResponse("/api/tickets", problem(503, undefined, { "Retry-After": seconds }));
    answers = busy("20");
    await answers();
    await wait(100_100);
    expect(reads.map((at) => Math.round(at / 1000))).toEqual([20, 40, 60, 80, 100]);
    answers = busy("86400");
    await wait(20_000);
    expect(reads).toHaveLength(6);
    await wait(59_000);
    expect(reads).toHaveLength(6);
    await wait(2000);
    expect(reads).toHaveLength(7);
  });

  test("reads every 10 s while only messages are lost", async () => {
    answers = () => reach.noteResponse("/api/tickets", problem(200));
    setPushLost(true);
    await wait(3125);
    expect(reads).toHaveLength(1);
    await wait(100_000);
    expect(Math.min(...gaps())).toBeGreaterThanOrEqual(7500);
    expect(Math.max(...gaps())).toBeLessThanOrEqual(12_500);
    expect(probes).toEqual([]);
    setPushLost(false);
    const before = reads.length;
    await wait(100_000);
    expect(reads).toHaveLength(before);
  });

  test("finds out whether the shop answers on a page that reads nothing", async () => {
    setPushLost(true);
    await wait(3125);
    expect(probes).toEqual(["/shop.json"]);
  });

  test("reads sooner when a service fails while messages are lost", async () => {
    answers = () => reach.noteResponse("/api/tickets", problem(200));
    setPushLost(true);
    await wait(4000);
    reach.noteSilence("/api/orders");
    await wait(1250);
    expect(reads).toHaveLength(2);
  });
});
