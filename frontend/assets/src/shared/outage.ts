// The words for an outage, and whether there is one now.
import { useValue } from "./observable";
import { type Outage, reach } from "./reach";
import { text, type TextId } from "./texts";

const PRESENT: Record<Outage, TextId> = {
  offline: "shared.outage_offline",
  unreachable: "shared.outage_unreachable",
  unavailable: "shared.outage_unavailable",
};
const PAST: Record<Outage, TextId> = {
  offline: "shared.outage_was_offline",
  unreachable: "shared.outage_was_unreachable",
  unavailable: "shared.outage_was_unavailable",
};

/** For an outage that lasts. */
export function outageText(outage: Outage): string {
  return text(PRESENT[outage]);
}

/** For a request that failed in an outage, which may be over when its user reads this. */
export function pastOutageText(outage: Outage): string {
  return text(PAST[outage]);
}

/** The present outage, or null: during one, nothing can be held or paid. */
export function useOutage(): Outage | null {
  const present = useValue(reach);
  return present === "reached" ? null : present;
}
