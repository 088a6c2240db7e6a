import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { useFakeTime } from "../browser";

const SERVER_AHEAD_MS = 300_000;

type Clock = typeof import("../../assets/src/shared/clock");
type GatewayClockModule = typeof import("../../assets/src/shared/gateway-clock");
type GatewayClock = InstanceType<GatewayClockModule["GatewayClock"]>;

let clock: Clock;
let gatewayClock: GatewayClockModule;

beforeEach(async () => {
  useFakeTime();
  vi.resetModules();
  clock = await import("../../assets/src/shared/clock");
  gatewayClock = await import("../../assets/src/shared/gateway-clock");
});
afterEach(() => {
  vi.useRealTimers();
});

/** A gateway at the end of a network with these round trips, one after the other. */
function network(...roundTrips: number[]) {
  const questions: number[] = [];
  let silences = 0;
  const asked: GatewayClock = new gatewayClock.GatewayClock(
    (question) => {
      const roundTrip = roundTrips[questions.length] ?? roundTrips.at(-1) ?? 0;
      questions.push(performance.now());
      setTimeout(() => {
        const now = Date.now() + SERVER_AHEAD_MS;
        setTimeout(() => {
          asked.answer({ now, question });
        }, roundTrip / 2);
      }, roundTrip / 2);
    },
    () => {
      silences += 1;
    },
  );
  return { asked, questions, silences: () => silences };
}

const error = () => clock.serverNow() - Date.now() - SERVER_AHEAD_MS;

describe("the gateway's clock", () => {
  test.each([2, 200, 800, 3000])("is known exactly at a round trip of %d ms", (roundTrip) => {
    const { asked, questions } = network(roundTrip);
    asked.ask();
    vi.advanceTimersByTime(20_000);
    expect(error()).toBe(0);
    expect(questions).toHaveLength(4);
  });

  test("is asked one question at a time, however often one is wanted", () => {
    const { asked, questions } = network(800);
    asked.ask();
    vi.advanceTimersByTime(100);
    asked.ask();
    expect(questions).toHaveLength(1);
    vi.advanceTimersByTime(20_000);
    const gaps = questions.slice(1).map((sentAt, index) => sentAt - (questions[index] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(800);
  });

  test("is not learned from the answer to a question of an earlier connection", () => {
    const { asked } = network(2000, 2);
    asked.ask();
    vi.advanceTimersByTime(1000);
    asked.stop();
    // The answer to the first question arrives while the second is under way.
    vi.advanceTimersByTime(999);
    asked.ask();
    vi.advanceTimersByTime(1);
    expect(clock.serverNow()).toBe(Date.now());
    vi.advanceTimersByTime(20_000);
    expect(error()).toBe(0);
  });

  test("is asked no more on a connection that is lost", () => {
    const { asked, questions, silences } = network(800);
    asked.ask();
    asked.stop();
    vi.advanceTimersByTime(20_000);
    expect(questions).toHaveLength(1);
    expect(silences()).toBe(0);
    expect(clock.serverNow()).toBe(Date.now());
  });

  test("is reported to be silent after four seconds", () => {
    const { asked, silences } = network(60_000);
    asked.ask();
    vi.advanceTimersByTime(gatewayClock.ANSWER_MS - 1);
    expect(silences()).toBe(0);
    vi.advanceTimersByTime(1);
    expect(silences()).toBe(1);
  });
});
