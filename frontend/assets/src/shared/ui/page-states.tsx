// A page or a list without content: empty, failed, offline, not found.
import type { ReactNode } from "react";
import { Link } from "react-router";

import type { Problem } from "../http";
import { useValue } from "../observable";
import { connection } from "../push";
import { text } from "../texts";

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

export function Failed({ problem, retry }: { problem: Problem; retry: () => void }) {
  const offline = problem.status === 0;
  return (
    <Empty
      title={offline ? text("shared.no_connection") : text("shared.failed")}
      action={
        <button type="button" className="button quiet" onClick={retry}>
          {text("shared.try_again")}
        </button>
      }
    >
      {offline ? text("shared.no_connection_note") : text("shared.failed_note")}
    </Empty>
  );
}

export function OfflineBanner() {
  if (useValue(connection) !== "offline") return null;
  return (
    <p className="banner" role="status">
      {text("shared.offline_banner")}
    </p>
  );
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
