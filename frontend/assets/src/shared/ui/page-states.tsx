// A page or a list without content: empty, failed, offline, not found.
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "react-router";

import type { Problem } from "../http";
import { useValue } from "../observable";
import { outageText } from "../outage";
import { connection } from "../push";
import { type Outage, reach } from "../reach";
import { text, type TextId } from "../texts";

/** A reconnect takes less. */
const PUSH_LOST_MS = 5000;

interface EmptyProps {
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}

export function Empty({ title, children, action }: EmptyProps) {
  return (
    <div className="card state">
      <h2 className="section-title">{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export const OUTAGE_TITLES: Record<Outage, TextId> = {
  offline: "shared.outage_offline_title",
  unreachable: "shared.outage_unreachable_title",
  unavailable: "shared.outage_unavailable_title",
};

export function Failed({ problem, retry }: { problem: Problem; retry: () => void }) {
  const { outage } = problem;
  return (
    <Empty
      title={outage ? text(OUTAGE_TITLES[outage]) : text("shared.failed")}
      action={
        <button type="button" className="button quiet" onClick={retry}>
          {text("shared.try_again")}
        </button>
      }
    >
      {outage ? text("shared.outage_held") : text("shared.failed_note")}
    </Empty>
  );
}

/** Why the page may be out of date; nothing while it is live. */
export function OutageBanner() {
  const present = useValue(reach);
  const pushLost = usePushLost();
  if (present === "reached" && !pushLost) return null;
  return (
    <p className="banner" role="status">
      {present === "reached"
        ? text("shared.push_lost")
        : `${outageText(present)} ${text("shared.banner_again")}`}
    </p>
  );
}

/** Whether messages have not come for some seconds, though the shop answers. */
function usePushLost(): boolean {
  const reconnecting = useValue(connection) === "reconnecting";
  const [lost, setLost] = useState(false);
  useEffect(() => {
    if (!reconnecting) return undefined;
    const timer = setTimeout(() => {
      setLost(true);
    }, PUSH_LOST_MS);
    return () => {
      clearTimeout(timer);
      setLost(false);
    };
  }, [reconnecting]);
  return lost;
}

/** For an address that no show has; `children` is the label of the link to another page. */
export function NoSuchShow({ to, children }: { to: string; children: ReactNode }) {
  return (
    <Empty
      title={text("shared.no_show")}
      action={
        <Link className="button" to={to}>
          {children}
        </Link>
      }
    >
      {text("shared.another_show")}
    </Empty>
  );
}

/** Loads the next page of a list. */
export function MoreButton({ onClick }: { onClick: () => void }) {
  return (
    <div className="more">
      <button type="button" className="button quiet" onClick={onClick}>
        {text("shared.show_more")}
      </button>
    </div>
  );
}
