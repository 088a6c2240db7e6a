import { expect, test } from "vitest";

import { showArt } from "../../assets/src/shared/show-art";

const IDS = Array.from({ length: 50 }, (_, number) => `0198c0de-0000-7000-8000-${number}`);
const CATEGORIES = ["concert", "sport", "classical", "dance", "theatre", "comedy", "festival"];

/** The kinds of the layers above the two colours. */
function motifOf(art: string): string {
  return [...art.matchAll(/[a-z-]+-gradient/g)].map(([kind]) => kind).join(" ");
}

test("The picture of a show follows its category", () => {
  for (const category of CATEGORIES) {
    const motifs = new Set(IDS.map((id) => motifOf(showArt(id, category))));
    expect(motifs.size, category).toBe(1);
  }
  const motifs = CATEGORIES.map((category) => motifOf(showArt(IDS[0] ?? "", category)));
  expect(new Set(motifs).size).toBe(CATEGORIES.length);
});

test("Shows of one category differ", () => {
  const arts = new Set(IDS.map((id) => showArt(id, "concert")));
  expect(arts.size).toBe(IDS.length);
});

test("A show always has the same picture, also in a category that the shop does not know", () => {
  expect(showArt("one", "lecture")).toBe(showArt("one", "lecture"));
  expect(motifOf(showArt("one", "lecture"))).toBe(motifOf(showArt("two", "lecture")));
  expect(showArt("one", undefined)).not.toBe(showArt("two", undefined));
});
