// Remaining time as a ring: the same in a list, at the checkout and on the desk.
import { memo } from "react";

import { serverNow, useSecondsUntil } from "../clock";
import type { Urgency } from "../order-status";

const SMOOTH_SECONDS = 10;

interface TimeRingProps {
  until: string;
  /** The seconds of a full ring. */
  whole: number;
  size?: number;
  urgency?: Urgency;
}

/** Moves once a second, and smoothly in the last ten. The animation is CSS's. */
export const TimeRing = memo(function TimeRing({
  until,
  whole,
  size = 22,
  urgency,
}: TimeRingProps) {
  const smooth = useSecondsUntil(until) <= SMOOTH_SECONDS;
  const left = Math.max(0, (Date.parse(until) - serverNow()) / 1000);
  const length = Math.max(whole, Math.ceil(left));
  const timing = smooth ? "linear" : `steps(${length})`;
  return (
    <svg
      className={`ring ${urgency ?? ""}`}
      width={size}
      height={size}
      viewBox="0 0 22 22"
      aria-hidden="true"
    >
      <circle className="rail" cx="11" cy="11" r="9" />
      <circle
        key={`${until} ${timing}`}
        className="left"
        cx="11"
        cy="11"
        r="9"
        pathLength="100"
        style={{
          animationDuration: `${length}s`,
          animationDelay: `${left - length}s`,
          animationTimingFunction: timing,
        }}
      />
    </svg>
  );
});
