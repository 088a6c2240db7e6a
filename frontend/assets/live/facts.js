// What this installation says of itself, for widgets.
import { useEffect, useState } from "react";

import { shopFacts } from "./api.js";

/** Null until they are read. */
export function useFacts() {
  const [facts, setFacts] = useState(null);
  useEffect(() => {
    shopFacts().then(setFacts, () => undefined);
  }, []);
  return facts;
}
