// The tickets that the visitor holds, so that their rows lead back to the checkout.
import { useEffect, useState } from "react";

import { get } from "./api.js";
import { useValue } from "./observable.js";
import { isHeld } from "./orders.js";
import { listen } from "./push.js";
import { Reading } from "./reading.js";
import { user } from "./session.js";

const NONE = new Map();
// An unpaid order is minutes old at most, so it is among the newest.
const NEWEST = 20;

/** The id of the visitor's unpaid order, by the id of a ticket in it. */
export function useMyHolds() {
  const id = useValue(user)?.id;
  const [holds, setHolds] = useState(NONE);
  useEffect(() => {
    if (!id) return undefined;
    const reading = new Reading();
    const read = async () => {
      const found = await reading.latest((signal) => get(`/api/orders?limit=${NEWEST}`, { signal }));
      if (found) setHolds(byTicket(found.items));
    };
    const again = () => read().catch(() => undefined);
    again();
    const message = (event) => event.startsWith("order.") && again();
    const stop = listen(`private-user-${id}`, { message, reread: read });
    return () => {
      stop();
      reading.close();
      setHolds(NONE);
    };
  }, [id]);
  return holds;
}

function byTicket(orders) {
  return new Map(orders.filter(isHeld).flatMap((order) => order.tickets.map((ticket) => [ticket.id, order.id])));
}
