// The parts of a page that the links at its start lead to, beside its content.
import { useEffect } from "react";

import { Observable } from "./observable";

interface SkipTarget {
  /** The id of an element that takes the focus. */
  id: string;
  label: string;
}

export const skipTargets = new Observable<readonly SkipTarget[]>([]);

/** Offers a link to the element while the component is shown and `offered`. */
export function useSkipTarget(id: string, label: string, offered: boolean): void {
  useEffect(() => {
    if (!offered) return undefined;
    const target = { id, label };
    skipTargets.set([...skipTargets.value, target]);
    return () => {
      skipTargets.set(skipTargets.value.filter((each) => each !== target));
    };
  }, [id, label, offered]);
}
