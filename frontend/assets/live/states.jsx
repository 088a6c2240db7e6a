// What stands where content can't: nothing found, something wrong, no network.
import { Link } from "react-router";

import { useValue } from "./observable.js";
import { connection } from "./push.js";

export function Empty({ title, children, action }) {
  return (
    <div className="card state">
      <h2 className="section-title">{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export function Failed({ problem, again }) {
  const offline = problem.status === 0;
  return (
    <Empty
      title={offline ? "No connection to the shop" : "That did not work"}
      action={
        <button type="button" className="button quiet" onClick={again}>
          Try again
        </button>
      }
    >
      {offline ? "Check your network. Nothing that you hold is lost." : "The shop had a problem. It is ours, not yours."}
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

/** An address that no show has, and where to go on. */
export function NoSuchShow({ to, children }) {
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

/** The next page of a list that goes on. */
export function More({ read }) {
  return (
    <div className="more">
      <button type="button" className="button quiet" onClick={read}>
        Show more
      </button>
    </div>
  );
}
