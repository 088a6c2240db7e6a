// Whether the page is live, in the header of every page.
import { useEffect } from "react";

import { useValue } from "../observable";
import { connect, connection, type ConnectionState } from "../push";
import { ignoreReflexErrorHandlers } from "../reflex-errors";
import { installServiceWorker } from "../service-worker";
import { text, type TextId } from "../texts";

const STATES: Record<ConnectionState, [label: TextId, dot: string]> = {
  connecting: ["shared.connecting", "off"],
  live: ["shared.live", ""],
  reconnecting: ["shared.reconnecting", "held"],
  "caught-up": ["shared.caught_up", ""],
  offline: ["shared.offline", "off"],
  unreachable: ["shared.unreachable", "off"],
  unavailable: ["shared.unavailable", "off"],
};

export function ConnectionStatus() {
  const state = useValue(connection);
  useEffect(connect, []);
  useEffect(installServiceWorker, []);
  useEffect(ignoreReflexErrorHandlers, []);
  const [label, dot] = STATES[state];
  return (
    <span className="badge pill" role="status" data-state={state}>
      <i className={`dot ${dot}`} />
      <span className="pill-label">{text(label)}</span>
    </span>
  );
}
