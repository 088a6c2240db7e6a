// What is the visitor's own: read with the session's cookie, and told on a channel that only its user may hear.
import { useEffect } from "react";

import { useValue } from "./observable.js";
import { listen } from "./push.js";
import { user } from "./session.js";

/** Keep a feed (`open`, `again`, `message`, `read`) read and live, for whoever is signed in. */
export function useMine(feed) {
  const who = useValue(user);
  const id = who && who.id;
  useEffect(() => feed.open(), [feed]);
  useEffect(() => {
    if (id) return listen(`private-user-${id}`, { message: feed.message, reread: feed.read });
    // Signed out meanwhile: the API says what there is to be seen then.
    if (id === null) feed.again();
    return undefined;
  }, [feed, id]);
}
