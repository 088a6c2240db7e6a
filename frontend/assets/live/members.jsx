// Pages for who is signed in, and what a visitor sees in their place.
import { Link, useLocation } from "react-router";

import { useValue } from "./observable.js";
import { user } from "./session.js";
import { Empty } from "./states.jsx";

/** `children(user)` for a member, `waiting` until that is known, and an invitation to sign in for a visitor. */
export function MembersOnly({ title, words, waiting, children }) {
  const who = useValue(user);
  const { pathname, search } = useLocation();
  if (who === undefined) return waiting;
  if (who !== null) return children(who);
  const next = `?next=${encodeURIComponent(pathname + search)}`;
  return (
    <Empty
      title={title}
      action={
        <p className="state-actions">
          <Link className="button primary" to={`/signin${next}`}>
            Sign in
          </Link>
          <Link className="button quiet" to={`/signup${next}`}>
            Make an account
          </Link>
        </p>
      }
    >
      {words}
    </Empty>
  );
}
