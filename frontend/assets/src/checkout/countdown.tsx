// How long the buyer has the tickets: as a ring, in words, and announced to screen readers at
// three moments. A live region is polite: it waits for the end of the sentence that is read.
import { useState } from "react";

import { useSecondsUntil } from "../shared/clock";
import { minutes } from "../shared/format";
import { countdownSeconds, type RunningStage, urgencyOf } from "../shared/order-status";
import type { OrderRow, PaymentRow } from "../shared/push-messages";
import type { SiteConfig } from "../shared/site-config";
import { text, type TextId } from "../shared/texts";
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
  const count = order.tickets.length;
  const left = seconds < LONG_SECONDS ? secondsText(seconds) : minutes(seconds);
  if (stage === "paying") {
    return [text("checkout.paying_title"), text("checkout.paying_note", { count, left })];
  }
  if (stage === "challenge") {
    return [text("checkout.challenge"), text("checkout.challenge_note", { count, left })];
  }
  const urgency = urgencyOf(seconds);
  const title = {
    calm: text("checkout.yours", { count, left }),
    soon: text("checkout.yours_more", { count, left }),
    last: text("checkout.left_last", { left }),
    over: text("checkout.late"),
  }[urgency];
  if (payment) return [title, text("checkout.extended_note", { count })];
  const grace = graceText(config.payment_grace_seconds);
  if (urgency === "last") return [title, text("checkout.last_note", { count, grace })];
  return [title, text("checkout.keep_note", { count, grace })];
}

export const secondsText = (count: number) => text("checkout.seconds", { count });

function graceText(seconds: number): string {
  const time = seconds === 60 ? text("checkout.minute") : secondsText(seconds);
  return text("checkout.grace", { time });
}

const ANNOUNCEMENTS: [seconds: number, text: TextId][] = [
  [0, "checkout.announce_over"],
  [10, "checkout.announce_ten"],
  [30, "checkout.announce_soon"],
];

interface AnnouncerProps {
  until: string;
  /** By how many seconds the buyer can extend the hold, and has extended it; 0 if not. */
  extendable: number;
  extended: number;
}

/**
 * Announces each of these moments as it passes, and an extension by the buyer. A page that opens
 * after a moment, or a payment that extends the hold, announces nothing.
 */
export function Announcer({ until, extendable, extended }: AnnouncerProps) {
  const seconds = useSecondsUntil(until);
  const [before, setBefore] = useState({ seconds: 0, extended });
  const [announced, setAnnounced] = useState("");
  if (seconds !== before.seconds || extended !== before.extended) {
    setBefore({ seconds, extended });
    const passed = ANNOUNCEMENTS.find(([mark]) => before.seconds > mark && seconds <= mark);
    if (extended > before.extended) {
      const [added, left] = [secondsText(extended), secondsText(seconds)];
      setAnnounced(text("checkout.announce_added", { added, left }));
    } else if (passed) {
      setAnnounced(announcementOf(passed[1], extendable));
    } else if (seconds > before.seconds) {
      setAnnounced("");
    }
  }
  return (
    <p className="unseen" role="status" data-announcer>
      {announced}
    </p>
  );
}

function announcementOf(id: TextId, extendable: number): string {
  if (id !== "checkout.announce_soon" || extendable === 0) return text(id);
  return text("checkout.announce_soon_more", {
    key: text("shared.more_time_key"),
    time: secondsText(extendable),
  });
}
