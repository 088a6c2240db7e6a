// Pages are built without an address, a session or a clock. React must render the same content
// once in the browser before it may differ.
import { useSyncExternalStore } from "react";

const neverChanges = () => () => undefined;

/** False in the built page and while React takes it over, true from then on. */
export function useHydrated(): boolean {
  return useSyncExternalStore(
    neverChanges,
    () => true,
    () => false,
  );
}
