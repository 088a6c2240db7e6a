// What is the visitor's own: read with the session's cookie, and told on a channel that only its user may hear.
import { useEffect } from "react";

import { useValue } from "./observable.js";
import { listen } from "./push.js";
import { user } from "./session.js";

/** Keep a member's feed (`open`, `message`, `read`) read and live. */
export function useMine(feed) {
  const id = useValue(user)?.id;
  useEffect(() => feed.open(), [feed]);
  useEffect(() => (id ? listen(`private-user-${id}`, { message: feed.message, reread: feed.read }) : undefined), [feed, id]);
}
