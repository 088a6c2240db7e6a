import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { stubBrowser, useFakeTime } from "../browser";
import { FakePusher } from "../fake-pusher";

vi.mock("pusher-js", () => ({ default: FakePusher }));

const CONFIG = {
  session_seconds: 900,
  push: { key: "key", host: "localhost", port: 8001, tls: false, cluster: "" },
};
const JITTER_MS = 3000;

type Push = typeof import("../../assets/src/shared/push");

let push: Push;
let online: { onLine: boolean };
let dispatch: ReturnType<typeof stubBrowser>["dispatch"];
let dispatchToDocument: ReturnType<typeof stubBrowser>["dispatchToDocument"];

beforeEach(async () => {
  useFakeTime();
  ({ dispatch, dispatchToDocument } = stubBrowser());
  online = { onLine: true };
  vi.stubGlobal("navigator", online);
  vi.stubGlobal("fetch", () => Promise.resolve(Response.json(CONFIG)));
  FakePusher.Runtime.createWebSocket = () => new EventTarget();
  vi.resetModules();
  push = await import("../../assets/src/shared/push");
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** A subscriber that counts its reads; each succeeds unless `failing`. */
function subscriber() {
  const events: string[] = [];
  return {
    events,
    reads: 0,
    failing: false,
    onMessage: ({ event }: { event: string }) => void events.push(event),
    read() {
      this.reads += 1;
      return this.failing ? Promise.reject(new Error("lost")) : Promise.resolve();
    },
  };
}

type TestSubscriber = ReturnType<typeof subscriber>;

const wait = (ms: number) => vi.advanceTimersByTimeAsync(ms);

function gateway(): FakePusher {
  if (!FakePusher.last) throw new Error("No connection was opened.");
  return FakePusher.last;
}

/** Subscribe, connect, and have the gateway accept. */
async function opened(...subscribers: TestSubscriber[]) {
  for (const each of subscribers) push.subscribe("show-1", each);
  await wait(0);
  gateway().become("connected");
  gateway().channel("show-1")?.accept();
  await wait(0);
  const send = (seq: number, epoch = "e1", event = `ticket.${seq}`) =>
    gateway().channel("show-1")?.send(event, { _epoch: epoch, _seq: seq, ticket: {} });
  return { send };
}

/** The gateway answers a resume. */
function answer(recovered: boolean, seq: number | null, epoch: string | null = "e1"): void {
  gateway().channel("show-1")?.send("gittix:resumed", { channel: "show-1", recovered, epoch, seq });
}

/** The connection is lost, and the gateway accepts the subscription again. */
async function reconnected() {
  gateway().lose();
  gateway().become("connected");
  gateway().channel("show-1")?.accept({ _epoch: "e1", _seq: 99 });
  await wait(0);
}

describe("a subscription", () => {
  test("reads once the gateway has accepted it", async () => {
    const one = subscriber();
    await opened(one);
    expect(one.reads).toBe(1);
    expect(push.connection.value).toBe("live");
  });

  test("of a second subscriber shares the channel and reads at once", async () => {
    const [one, other] = [subscriber(), subscriber()];
    const { send } = await opened(one);
    push.subscribe("show-1", other);
    await wait(0);
    expect([one.reads, other.reads]).toEqual([1, 1]);
    send(1);
    expect([one.events, other.events]).toEqual([["ticket.1"], ["ticket.1"]]);
    expect(gateway().channels.size).toBe(1);
  });

  test("reads again for a message without its data", async () => {
    const one = subscriber();
    await opened(one);
    gateway().channel("show-1")?.send("ticket.held", { _read_again: true });
    await wait(JITTER_MS);
    expect([one.reads, one.events]).toEqual([2, []]);
  });

  test("ends with its last subscriber", async () => {
    const [one, other] = [subscriber(), subscriber()];
    const stopOne = push.subscribe("show-1", one);
    const stopOther = push.subscribe("show-1", other);
    await opened();
    stopOne();
    expect(gateway().channels.size).toBe(1);
    stopOther();
    expect(gateway().channels.size).toBe(0);
  });

  test("that was refused is tried again until it is accepted or ends", async () => {
    const stop = push.subscribe("show-1", subscriber());
    await wait(0);
    gateway().become("connected");
    const channel = gateway().channel("show-1");
    channel?.send("pusher:subscription_error", { status: 503 });
    await wait(1999);
    expect(channel?.attempts).toBe(1);
    await wait(2001);
    expect(channel?.attempts).toBe(2);
    channel?.send("pusher:subscription_error", { status: 503 });
    stop();
    await wait(4000);
    expect(channel?.attempts).toBe(2);
  });

  test("gets the number of viewers though it came before, and not that of sockets", async () => {
    const [one, other] = [subscriber(), subscriber()];
    await opened(one);
    gateway().channel("show-1")?.send("gittix:viewers", { count: 2 });
    gateway().channel("show-1")?.send("pusher:subscription_count", { subscription_count: 3 });
    push.subscribe("show-1", other);
    expect([one.events, other.events]).toEqual([["gittix:viewers"], ["gittix:viewers"]]);
  });
});

describe("messages", () => {
  test("in order are passed on without a read", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    for (const seq of [7, 8, 9]) send(seq);
    await wait(JITTER_MS);
    expect(one.events).toEqual(["ticket.7", "ticket.8", "ticket.9"]);
    expect(one.reads).toBe(1);
  });

  test("that arrive twice or late are dropped", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    for (const seq of [7, 8, 8, 7]) send(seq);
    await wait(JITTER_MS);
    expect(one.events).toEqual(["ticket.7", "ticket.8"]);
    expect(one.reads).toBe(1);
  });

  test("after a gap wait until the missed ones came, each once and in order", async () => {
    const [one, other] = [subscriber(), subscriber()];
    const { send } = await opened(one, other);
    for (const seq of [1, 4, 5]) send(seq);
    expect(one.events).toEqual(["ticket.1"]);
    expect(gateway().resumes).toEqual([{ channel: "show-1", epoch: "e1", seq: 1 }]);
    for (const seq of [2, 3, 4]) send(seq);
    answer(true, 4);
    send(6);
    expect(one.events).toEqual([1, 2, 3, 4, 5, 6].map((seq) => `ticket.${seq}`));
    await wait(JITTER_MS);
    expect([one.reads, other.reads]).toEqual([1, 1]);
  });

  test("that newer ones replaced are not missed", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    for (const seq of [1, 9]) send(seq);
    for (const seq of [4, 7]) send(seq);
    answer(true, 8);
    send(10);
    await wait(JITTER_MS);
    expect(one.events).toEqual([1, 4, 7, 9, 10].map((seq) => `ticket.${seq}`));
    expect([one.reads, gateway().resumes.length]).toEqual([1, 1]);
  });

  test("that the gateway skipped for a slow client are not missed", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    for (const seq of [1, 2]) send(seq);
    gateway().channel("show-1")?.send("gittix:skipped", { epoch: "e1", from: 3, to: 7 });
    for (const seq of [4, 6, 8, 9]) send(seq);
    await wait(JITTER_MS);
    expect(one.events).toEqual([1, 2, 4, 6, 8, 9].map((seq) => `ticket.${seq}`));
    expect([one.reads, gateway().resumes.length]).toEqual([1, 0]);
  });

  test.each([
    ["before the skipped ones", 4, 9, "e1"],
    ["after them", 2, 5, "e1"],
    ["of another epoch", 2, 9, "e2"],
  ])("that are missing %s are a gap", async (_, from, to, epoch) => {
    const one = subscriber();
    const { send } = await opened(one);
    send(1);
    gateway().channel("show-1")?.send("gittix:skipped", { epoch, from, to });
    send(8);
    expect(one.events).toEqual(["ticket.1"]);
    expect(gateway().resumes).toEqual([{ channel: "show-1", epoch: "e1", seq: 1 }]);
  });

  test("that the gateway lacks make each subscriber read once", async () => {
    const [one, other] = [subscriber(), subscriber()];
    const { send } = await opened(one, other);
    for (const seq of [1, 3, 5]) send(seq);
    answer(false, 5);
    expect(one.events).toEqual(["ticket.1", "ticket.3", "ticket.5"]);
    send(6);
    await wait(JITTER_MS);
    expect([one.reads, other.reads]).toEqual([2, 2]);
    expect(one.events.at(-1)).toBe("ticket.6");
    expect(gateway().resumes.length).toBe(1);
  });

  test("without an answer within 2 s are read, and none is lost or repeated", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    for (const seq of [1, 5, 2, 4]) send(seq);
    await wait(1999);
    expect(one.reads).toBe(1);
    await wait(1001);
    expect(one.reads).toBe(2);
    expect(one.events).toEqual([1, 2, 4, 5].map((seq) => `ticket.${seq}`));
    send(6);
    expect(one.events.at(-1)).toBe("ticket.6");
    // The answer comes late.
    answer(true, 5);
    send(7);
    expect(one.events.at(-1)).toBe("ticket.7");
    expect([one.reads, gateway().resumes.length]).toEqual([2, 1]);
  });

  test("are kept up to a bound", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    send(1);
    for (let seq = 3; seq <= 1003; seq += 1) send(seq);
    expect(one.events.length).toBe(1002);
    await wait(JITTER_MS);
    expect(one.reads).toBe(2);
  });

  test("that the gateway reports as lost are read once", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    send(1);
    answer(false, 20, "e2");
    answer(false, 20, "e2");
    send(21, "e2");
    await wait(JITTER_MS);
    expect([one.reads, one.events]).toEqual([2, ["ticket.1", "ticket.21"]]);
  });

  test("of a new epoch lead to a read, whatever their numbers", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    send(41);
    send(1, "e2");
    send(2, "e2");
    await wait(JITTER_MS);
    expect(one.events).toEqual(["ticket.41", "ticket.1", "ticket.2"]);
    expect(one.reads).toBe(2);
  });

  test("without a number are passed on", async () => {
    const one = subscriber();
    await opened(one);
    gateway().channel("show-1")?.send("show.availability", { show: {} });
    expect(one.events).toEqual(["show.availability"]);
  });
});

test("a read that fails is repeated until it succeeds", async () => {
  // The reads are 1.5 s after the answer, then 3 s after each failure.
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  const one = subscriber();
  const { send } = await opened(one);
  one.failing = true;
  send(1);
  send(3);
  answer(false, 3);
  await wait(JITTER_MS);
  expect(one.reads).toBe(2);
  await wait(2 * JITTER_MS);
  expect(one.reads).toBe(4);
  one.failing = false;
  await wait(10 * JITTER_MS);
  expect(one.reads).toBe(5);
});

describe("after a loss of the connection", () => {
  test("the missed messages come from the gateway, and then the page is live", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    send(4);
    await reconnected();
    expect(push.connection.value).toBe("reconnecting");
    expect(gateway().resumes).toEqual([{ channel: "show-1", epoch: "e1", seq: 4 }]);
    for (const seq of [5, 6]) send(seq);
    answer(true, 6);
    send(7);
    expect(push.connection.value).toBe("caught-up");
    expect(one.events).toEqual([4, 5, 6, 7].map((seq) => `ticket.${seq}`));
    await wait(4000);
    expect(push.connection.value).toBe("live");
    expect(one.reads).toBe(1);
  });

  test("the position of a subscription is enough to resume", async () => {
    const one = subscriber();
    push.subscribe("show-1", one);
    await wait(0);
    gateway().become("connected");
    gateway().channel("show-1")?.accept({ _epoch: "e1", _seq: 30 });
    await wait(0);
    await reconnected();
    expect(gateway().resumes).toEqual([{ channel: "show-1", epoch: "e1", seq: 30 }]);
  });

  test("a loss during a resume requests everything again", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    send(4);
    await reconnected();
    send(5);
    send(9);
    await reconnected();
    for (const seq of [6, 7, 8, 9]) send(seq);
    answer(true, 9);
    expect(gateway().resumes.at(-1)).toEqual({ channel: "show-1", epoch: "e1", seq: 5 });
    expect(one.events).toEqual([4, 5, 6, 7, 8, 9].map((seq) => `ticket.${seq}`));
  });

  test("messages that the gateway lacks are read, and then the page is live", async () => {
    const one = subscriber();
    const { send } = await opened(one);
    send(4);
    await reconnected();
    answer(false, 600);
    expect(push.connection.value).toBe("reconnecting");
    await wait(JITTER_MS);
    expect(one.reads).toBe(2);
    expect(push.connection.value).toBe("caught-up");
  });

  test("a page whose subscriber came meanwhile reads for this one only", async () => {
    const [one, late] = [subscriber(), subscriber()];
    const { send } = await opened(one);
    send(4);
    gateway().lose();
    push.subscribe("show-1", late);
    gateway().become("connected");
    gateway().channel("show-1")?.accept();
    answer(true, 4);
    await wait(JITTER_MS);
    expect([one.reads, late.reads]).toEqual([1, 1]);
    expect(push.connection.value).toBe("caught-up");
  });

  test("without a position all read again, and only then the page is live", async () => {
    const one = subscriber();
    await opened(one);
    gateway().lose();
    expect(push.connection.value).toBe("reconnecting");
    gateway().become("connected");
    expect(push.connection.value).toBe("reconnecting");
    gateway().channel("show-1")?.accept();
    await wait(JITTER_MS);
    expect(one.reads).toBe(2);
    expect(push.connection.value).toBe("caught-up");
    await wait(4000);
    expect(push.connection.value).toBe("live");
  });

  test("an attempt without an answer has more time, the more have failed", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    await opened(subscriber());
    gateway().lose();
    for (const [attempt, ms] of [4000, 6000, 9000, 10_000, 10_000].entries()) {
      await wait(ms - 1);
      expect(gateway().reconnects).toBe(attempt);
      await wait(1);
      expect(gateway().reconnects).toBe(attempt + 1);
    }
  });

  test("a closed socket is shown at once, also that of the first connection", async () => {
    await opened(subscriber());
    expect(push.connection.value).toBe("live");
    gateway().close();
    expect(push.connection.value).toBe("reconnecting");
  });

  test.each([
    [0, 0.75],
    [1, 1.25],
  ])("a refused attempt is repeated within 3.75 s for ever (%d)", async (random, factor) => {
    vi.spyOn(Math, "random").mockReturnValue(random);
    await opened(subscriber());
    gateway().lose();
    await wait(15_000);
    const before = gateway().reconnects;
    for (const [attempt, ms] of [1000, 1500, 2250, ...Array<number>(60).fill(3000)].entries()) {
      gateway().close();
      await wait(ms * factor - 1);
      expect(gateway().reconnects - before).toBe(attempt);
      await wait(1);
      expect(gateway().reconnects - before).toBe(attempt + 1);
    }
  });

  test("the attempts of many pages do not meet: they spread over more than a second", async () => {
    const times: number[] = [];
    for (let page = 0; page < 50; page += 1) {
      vi.resetModules();
      push = await import("../../assets/src/shared/push");
      await opened(subscriber());
      gateway().lose();
      await wait(30_000);
      const attempts = gateway().reconnects;
      gateway().close();
      const refusedAt = Date.now();
      while (gateway().reconnects === attempts) await wait(50);
      times.push(Date.now() - refusedAt);
    }
    expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(300);
  });

  test("the network's end is shown as offline, and its return reconnects", async () => {
    await opened(subscriber());
    online.onLine = false;
    dispatch("offline");
    expect(push.connection.value).toBe("offline");
    online.onLine = true;
    dispatch("online");
    expect(gateway().reconnects).toBe(1);
    expect(push.connection.value).toBe("reconnecting");
  });
});

test("the gateway's time is requested four times on each connection", async () => {
  await opened(subscriber());
  await wait(1000);
  expect(gateway().sent).toEqual(["gittix:viewer", ...Array<string>(4).fill("gittix:time")]);
});

describe("a page that wakes", () => {
  /** From the back/forward cache. */
  const RESTORED = { persisted: true };
  const hideForAWhile = () => {
    dispatchToDocument("visibilitychange", "hidden");
    vi.advanceTimersByTime(5000);
    dispatchToDocument("visibilitychange", "visible");
  };
  const sleep = () => {
    vi.setSystemTime(Date.now() + 3_600_000);
  };
  const WAKES: [reason: string, wake: () => void, reconnects: number][] = [
    [
      "is restored",
      () => {
        dispatch("pageshow", RESTORED);
      },
      1,
    ],
    [
      "has its network again",
      () => {
        dispatch("online");
      },
      1,
    ],
    [
      "was frozen",
      () => {
        dispatchToDocument("resume");
      },
      0,
    ],
    ["was hidden", hideForAWhile, 0],
    ["slept", sleep, 0],
  ];

  test.each(WAKES)("because it %s, reads within a second", async (_, wake, reconnects) => {
    const one = subscriber();
    await opened(one);
    await wait(1000);
    const { serverNow } = await import("../../assets/src/shared/clock");
    const watching = setInterval(serverNow, 200);
    wake();
    await wait(1000);
    expect(one.reads).toBe(2);
    expect(gateway().reconnects).toBe(reconnects);
    if (!reconnects) expect(gateway().sent.length).toBeGreaterThan(5);
    clearInterval(watching);
  });

  test("from a glance at another tab reads nothing", async () => {
    const one = subscriber();
    await opened(one);
    dispatchToDocument("visibilitychange", "hidden");
    await wait(4000);
    dispatchToDocument("visibilitychange", "visible");
    dispatch("pageshow", { persisted: false });
    await wait(1000);
    expect(one.reads).toBe(1);
  });
});

test("a question for the time without an answer reconnects", async () => {
  await opened(subscriber());
  await wait(1000);
  gateway().stalled = true;
  dispatchToDocument("resume");
  await wait(3900);
  expect(push.connection.value).toBe("live");
  await wait(200);
  expect(push.connection.value).toBe("reconnecting");
  expect(gateway().reconnects).toBe(1);
});

test("a hosted Pusher is not asked for the time; its count of sockets is shown", async () => {
  const hosted = { ...CONFIG, push: { ...CONFIG.push, host: "" } };
  vi.stubGlobal("fetch", () => Promise.resolve(Response.json(hosted)));
  const one = subscriber();
  await opened(one);
  await wait(10_000);
  gateway().channel("show-1")?.send("pusher:subscription_count", { subscription_count: 3 });
  expect(one.events).toEqual(["gittix:viewers"]);
  expect(gateway().sent).toEqual([]);
  expect(push.connection.value).toBe("live");
  // Nor for missed messages.
  for (const seq of [1, 3]) gateway().channel("show-1")?.send("n", { _epoch: "e1", _seq: seq });
  await reconnected();
  await wait(JITTER_MS);
  expect([gateway().resumes, one.reads]).toEqual([[], 2]);
});
