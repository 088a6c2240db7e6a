// The sound of a sale. It is off until the seller switches it on; the browser remembers that. A
// browser lets a page play sounds only after the user has touched it.
import { keep, recall } from "../shared/browser-storage";
import { Observable } from "../shared/observable";

const NAME = "gittix:sound";
const LASTING = { lasting: true };
const TONE_SECONDS = 0.16;

/** The tones of a status in hertz, one after the other, and their gain. */
const SOUNDS: Partial<Record<string, { tones: number[]; gain: number }>> = {
  sold: { tones: [880, 1318.5], gain: 0.12 },
  held: { tones: [523.3], gain: 0.05 },
};

export const soundOn = new Observable(false);

let context: AudioContext | null = null;

/** Restore the switch as the browser remembers it. */
export function restoreSound(): void {
  soundOn.set(recall(NAME, LASTING) === true);
  if (soundOn.value) addEventListener("pointerdown", () => void audio(), { once: true });
}

export function toggleSound(): void {
  soundOn.set(!soundOn.value);
  keep(NAME, soundOn.value, LASTING);
  if (soundOn.value) playSaleSound("sold");
}

/** Plays for a sale and, softly, for a hold. Silent for any other status and while it is off. */
export function playSaleSound(status: string): void {
  const sound = SOUNDS[status];
  if (!soundOn.value || !sound) return;
  const playing = audio();
  for (const [index, hertz] of sound.tones.entries()) {
    playTone(playing, hertz, playing.currentTime + index * TONE_SECONDS, sound.gain);
  }
}

function audio(): AudioContext {
  context ??= new AudioContext();
  if (context.state === "suspended") void context.resume();
  return context;
}

function playTone(playing: AudioContext, hertz: number, at: number, loudness: number): void {
  const source = new OscillatorNode(playing, { frequency: hertz, type: "sine" });
  const gain = new GainNode(playing, { gain: 0 });
  gain.gain.setValueAtTime(loudness, at);
  gain.gain.exponentialRampToValueAtTime(0.0001, at + 2 * TONE_SECONDS);
  source.connect(gain).connect(playing.destination);
  source.start(at);
  source.stop(at + 2 * TONE_SECONDS);
}
