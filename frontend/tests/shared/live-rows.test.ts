import { beforeEach, describe, expect, test, vi } from "vitest";

import { LiveRows } from "../../assets/src/shared/live-rows";

interface Row {
  id: string;
  version: number;
  status: string;
}

const row = (id: string, version: number, status = `v${version}`): Row => ({ id, version, status });

let frames: (() => void)[];
let rows: LiveRows<Row>;

beforeEach(() => {
  frames = [];
  vi.stubGlobal("requestAnimationFrame", (callback: () => void) => frames.push(callback));
  vi.stubGlobal("cancelAnimationFrame", (id: number) => {
    frames[id - 1] = () => undefined;
  });
  rows = new LiveRows();
});

function runFrames(): void {
  for (const callback of frames.splice(0)) callback();
}

/** The shown rows, as id and version. */
function shown(): string[] {
  runFrames();
  return rows.value.rows.map(({ id, version }) => `${id}${version}`);
}

describe("messages", () => {
  test("a row is replaced only by a higher version", () => {
    rows.replace([row("a", 2)]);
    expect(rows.apply(row("a", 1))).toBeUndefined();
    expect(rows.apply(row("a", 2, "repeated"))).toBeUndefined();
    expect(rows.apply(row("a", 3))).toMatchObject({ version: 2 });
    expect(shown()).toEqual(["a3"]);
  });

  test("in any order they lead to the same rows", () => {
    const messages = [1, 2, 3, 4].map((version) => row("a", version));
    for (const order of [messages, [...messages].reverse(), [3, 1, 4, 2].map((v) => row("a", v))]) {
      rows = new LiveRows();
      for (const message of order) rows.apply(message);
      expect(rows.row("a")).toMatchObject({ version: 4, status: "v4" });
    }
  });

  test("a new row has replaced none", () => {
    expect(rows.apply(row("a", 1))).toBeNull();
    expect(shown()).toEqual(["a1"]);
  });

  test("an unknown row is left out where it may be on another page", () => {
    expect(rows.applyKnown(row("a", 1))).toBeUndefined();
    rows.replace([row("a", 1, "listed")]);
    rows.applyKnown({ id: "a", version: 2 });
    expect(rows.row("a")).toMatchObject({ version: 2, status: "listed", touched: 1 });
  });

  test("many in one frame notify once", () => {
    const watcher = vi.fn();
    rows.watch(watcher);
    for (let version = 1; version <= 100; version += 1) rows.apply(row("a", version));
    expect(watcher).not.toHaveBeenCalled();
    runFrames();
    expect(watcher).toHaveBeenCalledOnce();
    expect(shown()).toEqual(["a100"]);
  });
});

describe("reads", () => {
  test("a newer row of a message stays", () => {
    rows.replace([row("a", 1), row("b", 1)]);
    const before = rows.snapshot();
    rows.apply(row("a", 3));
    rows.replace([row("a", 2), row("b", 2)], before);
    expect(shown()).toEqual(["a3", "b2"]);
  });

  test("a row that the response lacks is removed", () => {
    rows.replace([row("a", 1), row("b", 1)]);
    rows.replace([row("b", 1)], rows.snapshot());
    expect(shown()).toEqual(["b1"]);
  });

  test("a row that a message brought during the read stays", () => {
    rows.replace([row("a", 1)]);
    const before = rows.snapshot();
    rows.apply(row("new", 1));
    rows.replace([row("a", 1)], before);
    expect(shown()).toEqual(["a1", "new1"]);
  });

  test("a row that changed during the read stays though the response lacks it", () => {
    rows.replace([row("a", 1)]);
    const before = rows.snapshot();
    rows.apply(row("a", 2));
    rows.replace([], before);
    expect(shown()).toEqual(["a2"]);
  });

  test("notify at once, and cancel the frame that was due", () => {
    const watcher = vi.fn();
    rows.watch(watcher);
    rows.apply(row("a", 1));
    rows.replace([row("a", 1)]);
    expect(watcher).toHaveBeenCalledOnce();
    runFrames();
    expect(watcher).toHaveBeenCalledOnce();
    expect(rows.value.ready).toBe(true);
  });
});

test("a read keeps what changed, and settle forgets it", () => {
  rows.replace([row("a", 1)]);
  rows.apply(row("a", 2));
  rows.apply(row("a", 3));
  rows.replace([row("a", 3)]);
  expect(rows.row("a")?.touched).toBe(2);
  rows.settle();
  expect(rows.row("a")?.touched).toBe(0);
});
