// Remaining time as a ring: the same in a list, at the checkout and on the desk.
import { memo, useCallback } from "react";

import { secondsUntil, useClock } from "../clock";
import type { Urgency } from "../order-status";

/** In the last seconds a ring of this many pixels moves smoothly. A small one has small steps. */
const SMOOTH_SIZE = 40;
const SMOOTH_SECONDS = 10;
const STEPS_A_SECOND = 5;
const REDUCED_MOTION = "(prefers-reduced-motion: reduce)";

interface TimeRingProps {
  until: string;
  /** The seconds of a full ring. */
  whole: number;
  size?: number;
  urgency?: Urgency;
}

/**
 * The arc is drawn from the same seconds as the digits beside it. No animation keeps a time of its
 * own, which could differ after a sleep, or after the estimate of the server's clock has changed.
 */
export const TimeRing = memo(function TimeRing({
  until,
  whole,
  size = 22,
  urgency,
}: TimeRingProps) {
  const left = useClock(useCallback(() => ringSeconds(until, size), [until, size]));
  return (
    <svg
      className={`ring ${urgency ?? ""} ${isSmooth(left, size) ? "smooth" : ""}`}
      width={size}
      height={size}
      viewBox="0 0 22 22"
      aria-hidden="true"
    >
      <circle className="rail" cx="11" cy="11" r="9" />
      <circle
        className="left"
        cx="11"
        cy="11"
        r="9"
        pathLength="100"
        style={{ strokeDashoffset: 100 - 100 * partLeft(left, whole) }}
      />
    </svg>
  );
});

function ringSeconds(until: string, size: number): number {
  const left = secondsUntil(until);
  return isSmooth(left, size) ? secondsUntil(until, STEPS_A_SECOND) : left;
}

function isSmooth(left: number, size: number): boolean {
  return size >= SMOOTH_SIZE && left <= SMOOTH_SECONDS && !prefersReducedMotion();
}

function prefersReducedMotion(): boolean {
  return typeof matchMedia === "function" && matchMedia(REDUCED_MOTION).matches;
}

/** From 0 to 1. A hold that lasts longer than a whole ring is a whole ring. */
function partLeft(left: number, whole: number): number {
  return left < whole ? left / whole : Math.sign(left);
}
