// Time is a ring: it means the same in a row, in the checkout and on the desk.
import { memo } from "react";

import { serverNow, useSecondsUntil } from "./clock.js";

const SMOOTH_SECONDS = 10;

/** What is left until `until` of `whole` seconds. It moves once a second, and smoothly in the last ten. */
export const Ring = memo(function Ring({ until, whole, size = 22, level = "" }) {
  const smooth = useSecondsUntil(until) <= SMOOTH_SECONDS;
  const left = Math.max(0, (Date.parse(until) - serverNow()) / 1000);
  const length = Math.max(whole, Math.ceil(left));
  const timing = smooth ? "linear" : `steps(${length})`;
  return (
    <svg className={`ring ${level}`} width={size} height={size} viewBox="0 0 22 22" aria-hidden="true">
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
