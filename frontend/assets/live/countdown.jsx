// How long the tickets are still its buyer's: in a ring, in words, and said aloud at three moments.
import { useEffect, useRef, useState } from "react";

import { useSecondsUntil } from "./clock.js";
import { minutes } from "./format.js";
import { levelOf, secondsWords, wholeSeconds } from "./orders.js";
import { Ring } from "./ring.jsx";

const SIZE = 132;
const LONG_SECONDS = 120;

export function Countdown({ order, stage, payment, facts }) {
  const seconds = useSecondsUntil(order.expires_at);
  const level = levelOf(seconds);
  const [title, note] = wordsOf({ order, stage, payment, facts, seconds, level });
  return (
    <header className="countdown" data-level={level} data-seconds={seconds}>
      <div className="countdown-ring" aria-hidden="true">
        <Ring until={order.expires_at} whole={wholeSeconds(order, facts.payment_grace_seconds)} size={SIZE} level={level} />
        <b>{seconds < LONG_SECONDS ? seconds : minutes(seconds)}</b>
      </div>
      <div className="countdown-words">
        <h1 className="title">{title}</h1>
        <p className="soft">{note}</p>
      </div>
    </header>
  );
}

function wordsOf({ order, stage, payment, facts, seconds, level }) {
  const many = order.tickets.length > 1;
  const [it, its] = many ? ["them", "They're"] : ["it", "It's"];
  const left = seconds < LONG_SECONDS ? secondsWords(seconds) : minutes(seconds);
  if (stage === "paying") return ["Asking your bank", `Nobody else can take ${it} meanwhile. There are ${left} to finish.`];
  if (stage === "challenge") return ["Your bank asks you", `Answer below within ${left}. Nobody else can take ${it} meanwhile.`];
  const title = {
    calm: `${its} yours for ${left}`,
    soon: `${its} yours for ${left} more`,
    last: `Only ${left} left`,
  }[level];
  if (payment) return [title, `Your extra time runs, and nobody else can take ${it}. Try again with this card or another.`];
  const grace = `Once you press Pay, you get another ${graceWords(facts.payment_grace_seconds)} to finish.`;
  if (level === "last") return [title, `Press Pay now to keep ${it}. ${grace}`];
  return [title, `Nobody else can take ${it} while the clock runs. ${grace}`];
}

function graceWords(seconds) {
  return seconds === 60 ? "minute" : secondsWords(seconds);
}

const SAID = new Map([
  [0, "Time is up."],
  [10, "10 seconds left."],
  [30, "30 seconds left to pay."],
]);

/** Speaks when a mark is crossed, and only then: who comes later, or gets more time, hears nothing of it. */
export function Announcer({ until }) {
  const seconds = useSecondsUntil(until);
  const [words, setWords] = useState("");
  const before = useRef(0);
  useEffect(() => {
    const crossed = [...SAID.keys()].find((mark) => before.current > mark && seconds <= mark);
    if (crossed !== undefined) setWords(SAID.get(crossed));
    else if (seconds > before.current) setWords("");
    before.current = seconds;
  }, [seconds]);
  return (
    <p className="unseen" role="alert">
      {words}
    </p>
  );
}
