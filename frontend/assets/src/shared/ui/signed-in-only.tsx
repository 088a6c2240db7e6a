// Pages of a signed-in user, and the invitation that a visitor gets in their place.
import type { ReactNode } from "react";
import { Link, useLocation } from "react-router";

import type { User } from "../api-types";
import { useValue } from "../observable";
import { user } from "../session";
import { text } from "../texts";
import { Empty, OutageBanner } from "./page-states";

interface SignedInOnlyProps {
  /** Of the invitation to sign in. */
  title: string;
  words: string;
  /** Shown until it is known whether a user is signed in. */
  waiting: ReactNode;
  children: (user: User) => ReactNode;
}

export function SignedInOnly({ title, words, waiting, children }: SignedInOnlyProps) {
  const current = useValue(user);
  const { pathname, search } = useLocation();
  if (current !== null) {
    return (
      <>
        <OutageBanner />
        {current === undefined ? waiting : children(current)}
      </>
    );
  }
  const next = `?next=${encodeURIComponent(pathname + search)}`;
  return (
    <Empty
      title={title}
      action={
        <p className="state-actions">
          <Link className="button primary" to={`/signin${next}`}>
            {text("shared.sign_in")}
          </Link>
          <Link className="button quiet" to={`/signup${next}`}>
            {text("shared.sign_up")}
          </Link>
        </p>
      }
    >
      {words}
    </Empty>
  );
}
