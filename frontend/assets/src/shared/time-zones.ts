// A show's time is shown and typed as the clocks at its venue show it.
const DAY_MS = 86_400_000;

/** "2026-12-04T20:00": the clocks of a zone at an instant. */
export function wallTimeIn(timeZone: string, instant: string | number): string {
  const parts = new Map<string, string>();
  for (const { type, value } of clockFormat(timeZone).formatToParts(new Date(instant))) {
    parts.set(type, value);
  }
  const part = (name: string) => parts.get(name) ?? "";
  const day = `${part("year").padStart(4, "0")}-${part("month")}-${part("day")}`;
  return `${day}T${part("hour")}:${part("minute")}`;
}

/**
 * The instant at which the clocks of a zone show this time: the first of two, where clocks are set
 * back; undefined where clocks are set forward past it.
 */
export function instantOf(wallTime: string, timeZone: string): string | undefined {
  const asUtc = Date.parse(`${wallTime}Z`);
  if (!Number.isFinite(asUtc)) return undefined;
  // The zone's offset is that of the day before or that of the day after, when it changes between.
  const instants = [asUtc - DAY_MS, asUtc + DAY_MS]
    .map((at) => asUtc - (Date.parse(`${wallTimeIn(timeZone, at)}Z`) - at))
    .filter((at) => wallTimeIn(timeZone, at) === wallTime.slice(0, 16));
  return instants.length ? new Date(Math.min(...instants)).toISOString() : undefined;
}

const knownZones = new Map<string, boolean>();

/** A browser may be older than a zone's name. */
export function isKnownZone(timeZone: string): boolean {
  let known = knownZones.get(timeZone);
  if (known === undefined) {
    try {
      known = Boolean(clockFormat(timeZone));
    } catch {
      known = false;
    }
    knownZones.set(timeZone, known);
  }
  return known;
}

export function readersZone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** "2026-12-04" in the reader's zone. */
export function readersDay(instant: string | number): string {
  return wallTimeIn(readersZone(), instant).slice(0, 10);
}

/** The zones that the browser knows, and these. */
export function zonesWith(...names: string[]): string[] {
  return [...new Set([...names, ...Intl.supportedValuesOf("timeZone")])].sort();
}

function clockFormat(timeZone: string): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat("en-GB", {
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
    timeZone,
  });
}
