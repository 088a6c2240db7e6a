// A page or a list without content: empty, failed, offline, not found.
import type { ReactNode } from "react";
import { Link } from "react-router";

import type { Problem } from "../http";
import { useValue } from "../observable";
import { connection } from "../push";

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
      title={offline ? "No connection to the shop" : "That did not work"}
      action={
        <button type="button" className="button quiet" onClick={retry}>
          Try again
        </button>
      }
    >
      {offline
        ? "Check your network. Nothing that you hold is lost."
        : "The shop had a problem. It is ours, not yours."}
    </Empty>
  );
}

export function OfflineBanner() {
  if (useValue(connection) !== "offline") return null;
  return (
    <p className="banner" role="status">
      You are offline. This is what we last knew; it updates by itself when you are back.
    </p>
  );
}

/** For an address that no show has; `children` is the label of the link to another page. */
export function NoSuchShow({ to, children }: { to: string; children: ReactNode }) {
  return (
    <Empty
      title="There is no such show"
      action={
        <Link className="button" to={to}>
          {children}
        </Link>
      }
    >
      It may have been a mistyped address.
    </Empty>
  );
}

/** Loads the next page of a list. */
export function MoreButton({ onClick }: { onClick: () => void }) {
  return (
    <div className="more">
      <button type="button" className="button quiet" onClick={onClick}>
        Show more
      </button>
    </div>
  );
}
