import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import {
  countdownSeconds,
  isHeld,
  type Stage,
  stageOf,
  urgencyOf,
} from "../../assets/src/shared/order-status";
import type { OrderRow, PaymentRow } from "../../assets/src/shared/push-messages";
import { useFakeTime } from "../browser";

beforeEach(() => {
  useFakeTime("2026-11-30T12:00:00Z");
});
afterEach(() => {
  vi.useRealTimers();
});

const RUNNING = "2026-11-30T12:00:30Z";
const OVER = "2026-11-30T11:59:59Z";

describe("stageOf", () => {
  type Case = [OrderRow["status"], string, PaymentRow["status"] | null, Stage];
  test.each<Case>([
    ["pending", RUNNING, null, "choosing"],
    ["awaiting_payment", RUNNING, "started", "paying"],
    ["awaiting_payment", RUNNING, "authorised", "paying"],
    ["awaiting_payment", RUNNING, "requires_action", "challenge"],
    ["awaiting_payment", RUNNING, "failed", "choosing"],
    ["awaiting_payment", RUNNING, "captured", "finishing"],
    ["confirmed", RUNNING, "captured", "finishing"],
    ["confirmed", OVER, "authorised", "finishing"],
    ["completed", OVER, "captured", "paid"],
    ["refund_pending", OVER, "captured", "refunding"],
    ["refunded", OVER, "refunded", "refunded"],
    ["cancelled", RUNNING, null, "cancelled"],
    ["pending", OVER, null, "expired"],
    ["expired", OVER, null, "expired"],
    ["awaiting_payment", OVER, "failed", "expired"],
    ["awaiting_payment", OVER, "started", "late"],
    ["awaiting_payment", OVER, "requires_action", "late"],
  ])("of a %s order until %s with a %s payment is %4$s", (status, expires_at, payment, stage) => {
    const order = { status, expires_at, payment_id: payment && "payment" };
    expect(stageOf(order, payment ? { status: payment } : undefined)).toBe(stage);
  });

  test("counts a payment that is announced and not read as under way", () => {
    const order = { status: "awaiting_payment", payment_id: "payment" } as const;
    expect(stageOf({ ...order, expires_at: RUNNING }, undefined)).toBe("paying");
    expect(stageOf({ ...order, expires_at: OVER }, undefined)).toBe("late");
  });
});

test("an order is held until its time is over", () => {
  expect(isHeld({ status: "pending", expires_at: RUNNING })).toBe(true);
  expect(isHeld({ status: "awaiting_payment", expires_at: RUNNING })).toBe(true);
  expect(isHeld({ status: "pending", expires_at: OVER })).toBe(false);
  expect(isHeld({ status: "completed", expires_at: RUNNING })).toBe(false);
});

test("a countdown is as long as the hold, then as the grace that extended it", () => {
  const times = { hold_seconds: 60, payment_grace_seconds: 20 };
  const order = { created_at: "2026-11-30T12:00:00.4Z", expires_at: "2026-11-30T12:01:00.4Z" };
  const extended = { ...order, expires_at: "2026-11-30T12:01:15.4Z" };
  expect(countdownSeconds({ ...order, status: "pending" }, times)).toBe(60);
  expect(countdownSeconds({ ...order, status: "awaiting_payment" }, times)).toBe(60);
  expect(countdownSeconds({ ...extended, status: "awaiting_payment" }, times)).toBe(20);
  const longer = { ...order, expires_at: "2026-11-30T12:02:00.4Z", extended_at: order.created_at };
  expect(countdownSeconds({ ...longer, status: "pending" }, times)).toBe(120);
  expect(countdownSeconds({ ...longer, status: "awaiting_payment" }, times)).toBe(120);
  const paying = { ...longer, expires_at: "2026-11-30T12:02:09.4Z" };
  expect(countdownSeconds({ ...paying, status: "awaiting_payment" }, times)).toBe(20);
});

test.each([
  [31, "calm"],
  [30, "soon"],
  [11, "soon"],
  [10, "last"],
  [1, "last"],
  [0, "over"],
])("%d seconds are %s", (seconds, urgency) => {
  expect(urgencyOf(seconds)).toBe(urgency);
});
