// Whether the page is live, in the header of every page.
import { useEffect } from "react";

import { connect, connection } from "./push.js";
import { useValue } from "./observable.js";

const STATES = {
  connecting: ["Connecting", "off"],
  live: ["Live", ""],
  reconnecting: ["Reconnecting", "held"],
  "caught-up": ["Caught up", ""],
  offline: ["Offline", "off"],
};

export function LivePill() {
  const state = useValue(connection);
  useEffect(connect, []);
  const [words, dot] = STATES[state];
  return (
    <span className="badge pill" role="status" data-state={state}>
      <i className={`dot ${dot}`} />
      {words}
    </span>
  );
}
