// Whether the page is live, in the header of every page.
import { useEffect } from "react";

import { useValue } from "../observable";
import { connect, connection, type ConnectionState } from "../push";

const STATES: Record<ConnectionState, [label: string, dot: string]> = {
  connecting: ["Connecting", "off"],
  live: ["Live", ""],
  reconnecting: ["Reconnecting", "held"],
  "caught-up": ["Caught up", ""],
  offline: ["Offline", "off"],
};

export function ConnectionStatus() {
  const state = useValue(connection);
  useEffect(connect, []);
  const [label, dot] = STATES[state];
  return (
    <span className="badge pill" role="status" data-state={state}>
      <i className={`dot ${dot}`} />
      <span className="pill-label">{label}</span>
    </span>
  );
}
