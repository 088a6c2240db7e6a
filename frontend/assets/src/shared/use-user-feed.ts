// Data of the signed-in user: read with the session's cookie, and kept live by the private channel
// of that user.
import { useEffect } from "react";

import type { UserFeed } from "./feed";
import { useValue } from "./observable";
import { subscribe } from "./push";
import { user } from "./session";

/** Keep the feed open while the component is mounted. */
export function useUserFeed(feed: UserFeed): void {
  const id = useValue(user)?.id;
  useEffect(() => feed.open(), [feed]);
  useEffect(() => {
    if (id) return subscribe(`private-user-${id}`, feed);
    return undefined;
  }, [feed, id]);
}
