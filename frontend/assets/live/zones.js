// A show's time is told and typed as the clock on the wall there shows it.
const DAY_MS = 86_400_000;

/** "2026-12-04T20:00": what the clocks of a zone show at an instant. */
export function wallTime(instant, timeZone) {
  const parts = {};
  for (const { type, value } of wallClock(timeZone).formatToParts(new Date(instant))) parts[type] = value;
  return `${parts.year.padStart(4, "0")}-${parts.month}-${parts.day}T${parts.hour}:${parts.minute}`;
}

/**
 * The instant at which the clocks of a zone show that: the first, where they show it twice; undefined where they never
 * do, since they are put forward then.
 */
export function instantOf(wall, timeZone) {
  const asUtc = Date.parse(`${wall}Z`);
  if (!Number.isFinite(asUtc)) return undefined;
  const offsets = [asUtc - DAY_MS, asUtc + DAY_MS].map((at) => Date.parse(`${wallTime(at, timeZone)}Z`) - at);
  const found = offsets.map((offset) => asUtc - offset).filter((at) => wallTime(at, timeZone) === wall.slice(0, 16));
  return found.length ? new Date(Math.min(...found)).toISOString() : undefined;
}

export function hereZone() {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** Every zone that this browser knows, and these. */
export function zonesWith(...names) {
  return [...new Set([...names, ...Intl.supportedValuesOf("timeZone")])].sort();
}

function wallClock(timeZone) {
  const digits = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat("en-GB", { ...digits, hourCycle: "h23", timeZone });
}
