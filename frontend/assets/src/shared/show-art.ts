// The picture of a show until its seller gives one: a CSS background derived from the show's id.

const GRADIENTS = [
  ["#22354f", "#6a8eab"],
  ["#5a1f2c", "#d76f5c"],
  ["#20402f", "#8cae68"],
  ["#33275c", "#9d83d4"],
  ["#3a2d17", "#d9a03c"],
  ["#15303a", "#4fa3a5"],
  ["#3d1f4a", "#c46a9b"],
  ["#1d2a5e", "#5f86e0"],
  ["#4a2a1c", "#c98a62"],
] as const;

/** A gradient of two colours with two rings of light. */
export function showArt(id: string): string {
  const hash = hashOf(id);
  const [from, to] = GRADIENTS[hash % GRADIENTS.length] ?? GRADIENTS[0];
  const x = 55 + ((hash >>> 4) % 50);
  const y = ((hash >>> 14) % 120) - 10;
  const ring = (radius: number) =>
    `radial-gradient(circle at ${x}% ${y}%, transparent ${radius}px, ` +
    `rgb(255 255 255 / 9%) ${radius + 1}px ${radius + 26}px, transparent ${radius + 27}px)`;
  return `${ring(44)}, ${ring(96)}, linear-gradient(${112 + (hash % 30)}deg, ${from}, ${to})`;
}

/** FNV-1a, with its high bits mixed into the low ones: ids of one minute differ in few bits. */
function hashOf(id: string): number {
  let hash = 2166136261;
  for (const letter of id) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619);
  return (hash ^ (hash >>> 15) ^ (hash >>> 7)) >>> 0;
}
