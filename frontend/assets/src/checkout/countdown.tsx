// How long the buyer has the tickets: as a ring, in words, and announced to screen readers at
// three moments.
import { useState } from "react";

import { useSecondsUntil } from "../shared/clock";
import { counted, minutes } from "../shared/format";
import { countdownSeconds, type RunningStage, urgencyOf } from "../shared/order-status";
import type { OrderRow, PaymentRow } from "../shared/push-messages";
import type { SiteConfig } from "../shared/site-config";
import { TimeRing } from "../shared/ui/time-ring";

const RING_SIZE = 132;
/** A longer time is shown in minutes. */
const LONG_SECONDS = 120;

interface CountdownProps {
  order: OrderRow;
  stage: RunningStage;
  payment: PaymentRow | undefined;
  config: SiteConfig;
}

export function Countdown({ order, stage, payment, config }: CountdownProps) {
  const seconds = useSecondsUntil(order.expires_at);
  const urgency = urgencyOf(seconds);
  const [title, note] = textsOf({ order, stage, payment, config }, seconds);
  return (
    <header className="countdown" data-level={urgency} data-seconds={seconds}>
      <div className="countdown-ring" aria-hidden="true">
        <TimeRing
          until={order.expires_at}
          whole={countdownSeconds(order, config)}
          size={RING_SIZE}
          urgency={urgency}
        />
        <b>{seconds < LONG_SECONDS ? seconds : minutes(seconds)}</b>
      </div>
      <div className="countdown-words">
        <h1 className="title">{title}</h1>
        <p className="soft">{note}</p>
      </div>
    </header>
  );
}

function textsOf(
  { order, stage, payment, config }: CountdownProps,
  seconds: number,
): [title: string, note: string] {
  const [it, its] = order.tickets.length > 1 ? ["them", "They're"] : ["it", "It's"];
  const left = seconds < LONG_SECONDS ? counted(seconds, "second") : minutes(seconds);
  const safe = `Nobody else can take ${it}`;
  if (stage === "paying") {
    return ["Asking your bank", `${safe} meanwhile. There are ${left} to finish.`];
  }
  if (stage === "challenge") {
    return ["Your bank asks you", `Answer below within ${left}. ${safe} meanwhile.`];
  }
  const urgency = urgencyOf(seconds);
  const title = {
    calm: `${its} yours for ${left}`,
    soon: `${its} yours for ${left} more`,
    last: `Only ${left} left`,
    over: "Time is up",
  }[urgency];
  if (payment) {
    const again = "Try again with this card or another.";
    return [title, `Your extra time runs, and nobody else can take ${it}. ${again}`];
  }
  const grace = graceText(config.payment_grace_seconds);
  if (urgency === "last") return [title, `Press Pay now to keep ${it}. ${grace}`];
  return [title, `${safe} while the clock runs. ${grace}`];
}

function graceText(seconds: number): string {
  const time = seconds === 60 ? "minute" : counted(seconds, "second");
  return `Once you press Pay, you get another ${time} to finish.`;
}

const ANNOUNCEMENTS: [seconds: number, text: string][] = [
  [0, "Time is up."],
  [10, "10 seconds left."],
  [30, "30 seconds left to pay."],
];

/**
 * Announces each of these moments as it passes. A page that opens after one, or a time that is
 * extended, announces nothing.
 */
export function Announcer({ until }: { until: string }) {
  const seconds = useSecondsUntil(until);
  const [before, setBefore] = useState(0);
  const [text, setText] = useState("");
  if (seconds !== before) {
    setBefore(seconds);
    const passed = ANNOUNCEMENTS.find(([mark]) => before > mark && seconds <= mark);
    if (passed) setText(passed[1]);
    else if (seconds > before) setText("");
  }
  return (
    <p className="unseen" role="alert">
      {text}
    </p>
  );
}
