// The picture of a show until its seller gives one: a CSS background. Its motif and its colours
// follow the category, so shows of one kind are recognized; the id varies hue, angle and place.

/** The layers of light and shade above the colours. */
type Motif = (seed: Seed) => string[];

interface Look {
  /** Degrees of the two colours on the wheel. */
  hues: readonly [from: number, to: number];
  motif: Motif;
}

/** Numbers from 0 to 1 that depend on the show's id alone. */
type Seed = (place: number) => number;

const LOOKS: Record<string, Look> = {
  concert: { hues: [262, 322], motif: beams },
  sport: { hues: [158, 128], motif: pitch },
  classical: { hues: [222, 206], motif: staves },
  dance: { hues: [318, 350], motif: waves },
  theatre: { hues: [352, 8], motif: curtain },
  club: { hues: [246, 288], motif: lasers },
  family: { hues: [196, 172], motif: balloons },
  comedy: { hues: [28, 42], motif: spotlight },
  festival: { hues: [196, 74], motif: sunburst },
};
const OTHER_MOTIFS: readonly Motif[] = [rings, tiles, dots];
/** How far a hue moves at most, in degrees. */
const VARIATION = 16;

/** Without a category, the id alone gives the look. */
export function showArt(id: string, category: string | null | undefined): string {
  const hash = hashOf(id);
  const seed: Seed = (place) => ((hash >>> (place * 8)) & 255) / 255;
  const { hues, motif } = LOOKS[category ?? ""] ?? otherLook(category || id);
  const [from, to] = hues.map((hue) => hue + (seed(0) - 0.5) * 2 * VARIATION);
  const angle = Math.round(110 + seed(1) * 50);
  const colours = `hsl(${from} 52% 20%), hsl(${to} 52% 46%)`;
  return [...motif(seed), `linear-gradient(${angle}deg, ${colours})`].join(", ");
}

/** A category that the shop does not know has a look of its own as well. */
function otherLook(name: string): Look {
  const hash = hashOf(name);
  const hue = hash % 360;
  return {
    hues: [hue, hue + 40],
    motif: OTHER_MOTIFS[(hash >>> 16) % OTHER_MOTIFS.length] ?? rings,
  };
}

const light = (percent: number) => `rgb(255 255 255 / ${percent}%)`;
const between = (low: number, high: number, part: number) => Math.round(low + (high - low) * part);

/** The beams of three lamps above a stage. */
function beams(seed: Seed): string[] {
  return [0, 1, 2].map((lamp) => {
    const x = between(8, 28, seed(lamp + 1)) + lamp * 34;
    const turn = between(-26, 26, seed(3 - lamp)) + (1 - lamp) * 14;
    const edges = `transparent ${163 + turn}deg, ${light(20)} ${168 + turn}deg`;
    const end = `${light(20)} ${190 + turn}deg, transparent ${195 + turn}deg`;
    return `conic-gradient(at ${x}% -12%, ${edges}, ${end})`;
  });
}

/** The fan of a laser above a dance floor. */
function lasers(seed: Seed): string[] {
  const x = between(20, 80, seed(2));
  return [
    `radial-gradient(ellipse 60% 34% at 50% 104%, ${light(30)}, transparent)`,
    `repeating-conic-gradient(from ${between(0, 9, seed(3))}deg at ${x}% -6%,` +
      ` ${light(46)} 0 0.7deg, transparent 1.1deg 9deg)`,
  ];
}

/** Balloons. */
function balloons(seed: Seed): string[] {
  const tones = ["hsl(42 96% 68% / 85%)", "hsl(352 86% 72% / 85%)", light(70), light(34)];
  return tones.map((tone, number) => {
    const [x, y] = [
      12 + number * 25 + between(-8, 8, seed(number)),
      between(18, 74, seed(3 - number)),
    ];
    const radius = between(13, 22, seed((number + 2) % 4));
    const disc = `${tone} ${radius}px, transparent ${radius + 1}px`;
    return `radial-gradient(circle at ${x}% ${y}%, ${disc})`;
  });
}

/** The mown stripes of a pitch, with its centre circle and line. */
function pitch(seed: Seed): string[] {
  const x = between(30, 70, seed(2));
  const circle = `transparent 33px, ${light(55)} 34px 36px, transparent 37px`;
  const line = `transparent calc(${x}% - 1px), ${light(55)} calc(${x}% - 1px) calc(${x}% + 1px)`;
  return [
    `radial-gradient(circle at ${x}% 50%, ${circle})`,
    `linear-gradient(90deg, ${line}, transparent calc(${x}% + 1px))`,
    `repeating-linear-gradient(90deg, ${light(10)} 0 28px, transparent 28px 56px)`,
  ];
}

/** Five lines of music, with notes on them. */
function staves(seed: Seed): string[] {
  const notes = [0, 1, 2, 3].map((note) => {
    const x = 14 + note * 23 + between(-5, 5, seed(note));
    const y = 32 + 9 * between(0, 6, seed((note + 1) % 4));
    return `radial-gradient(7px 5px at ${x}% ${y}px, ${light(85)} 96%, transparent)`;
  });
  const lines = [0, 1, 2, 3, 4].map(
    (line) => `linear-gradient(${light(38)} 0 0) 0 ${32 + line * 13}px / 100% 1px no-repeat`,
  );
  return [...notes, ...lines];
}

/** The trace of a dancer: arcs around a point below the picture. */
function waves(seed: Seed): string[] {
  const x = between(10, 90, seed(2));
  return [
    `repeating-radial-gradient(ellipse 70% 120% at ${x}% 120%, transparent 0 12%,` +
      ` ${light(16)} 13% 15%, transparent 16% 19%)`,
    `repeating-radial-gradient(ellipse 60% 110% at ${100 - x}% -30%, transparent 0 22%,` +
      ` ${light(9)} 24% 30%, transparent 32% 40%)`,
  ];
}

/** The folds of a curtain, with light from above. */
function curtain(seed: Seed): string[] {
  const fold = between(26, 40, seed(2));
  const x = between(25, 75, seed(3));
  return [
    `radial-gradient(ellipse 42% 90% at ${x}% 0%, ${light(26)}, transparent)`,
    `repeating-linear-gradient(90deg, rgb(0 0 0 / 34%) 0, ${light(16)} ${fold / 2}px,` +
      ` rgb(0 0 0 / 34%) ${fold}px)`,
  ];
}

/** A spotlight on a wall of bricks. */
function spotlight(seed: Seed): string[] {
  const x = between(28, 72, seed(2));
  return [
    `radial-gradient(circle at ${x}% 46%, ${light(46)} 0 38px, ${light(10)} 39px 46px,` +
      " transparent 47px)",
    `repeating-linear-gradient(rgb(0 0 0 / 26%) 0 2px, transparent 2px 20px)`,
    `repeating-linear-gradient(90deg, rgb(0 0 0 / 18%) 0 2px, transparent 2px 46px)`,
  ];
}

/** The sun over a field. */
function sunburst(seed: Seed): string[] {
  const x = between(25, 75, seed(2));
  return [
    `radial-gradient(circle at ${x}% 104%, hsl(46 96% 66%) 0 34px, transparent 35px)`,
    `repeating-conic-gradient(at ${x}% 104%, ${light(17)} 0 7deg, transparent 7deg 15deg)`,
  ];
}

function rings(seed: Seed): string[] {
  const [x, y] = [between(55, 100, seed(2)), between(0, 100, seed(3))];
  return [44, 96].map(
    (radius) =>
      `radial-gradient(circle at ${x}% ${y}%, transparent ${radius}px, ` +
      `${light(14)} ${radius + 1}px ${radius + 26}px, transparent ${radius + 27}px)`,
  );
}

function tiles(seed: Seed): string[] {
  const size = between(34, 58, seed(2));
  return [
    `repeating-linear-gradient(45deg, ${light(12)} 0 ${size / 2}px,` +
      ` transparent ${size / 2}px ${size}px)`,
    `repeating-linear-gradient(-45deg, ${light(10)} 0 ${size / 2}px,` +
      ` transparent ${size / 2}px ${size}px)`,
  ];
}

function dots(seed: Seed): string[] {
  const size = between(18, 28, seed(2));
  return [`radial-gradient(${light(30)} 22%, transparent 24%) 0 0 / ${size}px ${size}px`];
}

/** FNV-1a, with its high bits mixed into the low ones: ids of one minute differ in few bits. */
function hashOf(id: string): number {
  let hash = 2166136261;
  for (const letter of id) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619);
  hash = Math.imul(hash ^ (hash >>> 15), 2246822519);
  return (hash ^ (hash >>> 13)) >>> 0;
}
