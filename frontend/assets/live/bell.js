// The sound of a sale. Off until the seller switches it on; remembered in this browser. Browsers let a page make sounds
// once somebody has touched it.
import { Observable } from "./observable.js";
import { keep, recall } from "./stored.js";

const NAME = "gittix:sound";
const LASTING = { lasting: true };
/** Hertz, one after the other. */
const TONES = { sold: [880, 1318.5], held: [523.3] };
const TONE_SECONDS = 0.16;
const LOUDNESS = { sold: 0.12, held: 0.05 };

export const sound = new Observable(false);

let context = null;

/** As it was left in this browser. */
export function recallSound() {
  sound.set(recall(NAME, LASTING) === true);
  if (sound.value) addEventListener("pointerdown", ready, { once: true });
}

export function switchSound() {
  sound.set(!sound.value);
  keep(NAME, sound.value, LASTING);
  if (sound.value) {
    ready();
    ring("sold");
  }
}

/** Rings for a sale or, softly, for a hold; for nothing else, and not at all when it is off. */
export function ring(status) {
  if (!sound.value || !TONES[status]) return;
  ready();
  TONES[status].forEach((hertz, number) => tone(hertz, context.currentTime + number * TONE_SECONDS, LOUDNESS[status]));
}

function ready() {
  context ??= new AudioContext();
  if (context.state === "suspended") context.resume();
}

function tone(hertz, at, loudness) {
  const source = new OscillatorNode(context, { frequency: hertz, type: "sine" });
  const gain = new GainNode(context, { gain: 0 });
  gain.gain.setValueAtTime(loudness, at);
  gain.gain.exponentialRampToValueAtTime(0.0001, at + 2 * TONE_SECONDS);
  source.connect(gain).connect(context.destination);
  source.start(at);
  source.stop(at + 2 * TONE_SECONDS);
}
