import { beforeEach, describe, expect, test, vi } from "vitest";

const { "../../worker/service-worker.js": SOURCE = "" } = import.meta.glob<string>(
  "../../worker/service-worker.js",
  { query: "?raw", import: "default", eager: true },
);
const ORIGIN = "https://shop.test";
const FILES: [string, string][] = [
  ["/", "sha256-home"],
  ["/shows/_", "sha256-show"],
  ["/404", "sha256-missing"],
  ["/assets/app-1.js", "sha256-app"],
];

type Answer = Response | Promise<Response>;
interface Sent {
  url: string;
  integrity: string | undefined;
}

/** Cache storage in memory; names are in the order of their creation. */
class FakeCaches {
  readonly shells = new Map<string, Map<string, Response>>();

  open(name: string) {
    const files = this.shells.get(name) ?? new Map<string, Response>();
    this.shells.set(name, files);
    return Promise.resolve({
      put: (url: string, reply: Response) => Promise.resolve(void files.set(url, reply)),
      match: (url: string) => Promise.resolve(files.get(url)?.clone()),
    });
  }

  match(url: string) {
    for (const files of this.shells.values()) {
      const found = files.get(url);
      if (found) return Promise.resolve(found.clone());
    }
    return Promise.resolve(undefined);
  }

  keys = () => Promise.resolve([...this.shells.keys()]);
  delete = (name: string) => Promise.resolve(this.shells.delete(name));
}

let caches: FakeCaches;
let sent: Sent[];
let answer: (url: string) => Answer;

beforeEach(() => {
  caches = new FakeCaches();
  sent = [];
  answer = (url) => new Response(`the server's ${url}`);
});

/** The worker of a build, with functions that dispatch its events. */
function worker(version: string, files = FILES) {
  const listeners = new Map<string, (event: object) => void>();
  const scope = {
    addEventListener: (type: string, listener: (event: object) => void) =>
      listeners.set(type, listener),
    skipWaiting: () => Promise.resolve(),
    clients: { claim: () => Promise.resolve() },
    location: { origin: ORIGIN },
  };
  const fetch = async (request: string | { url: string }, init: RequestInit = {}) => {
    const url = typeof request === "string" ? request : new URL(request.url).pathname;
    sent.push({ url, integrity: init.integrity });
    return answer(url);
  };
  const build = {
    version,
    files,
    dynamic: ["/shows/[^/]+"],
    fallback: "/shows/_",
    missing: "/404",
  };
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- The worker is a script.
  const run = new Function("self", "caches", "fetch", "BUILD", SOURCE) as (
    ...all: object[]
  ) => void;
  run(scope, caches, fetch, build);
  const wait = async (type: string) => {
    let done: Promise<unknown> = Promise.resolve();
    listeners.get(type)?.({ waitUntil: (promise: Promise<unknown>) => (done = promise) });
    await done;
  };
  return {
    install: () => wait("install"),
    activate: () => wait("activate"),
    /** The worker's response; null for a request that passes it. */
    get: async (path: string, request: object = { mode: "navigate", destination: "document" }) => {
      let response: Promise<Response> | null = null;
      const url = path.startsWith("http") ? path : ORIGIN + path;
      listeners.get("fetch")?.({
        request: { method: "GET", url, ...request },
        respondWith: (promise: Promise<Response>) => (response = promise),
      });
      // The listener sets it, which tsc does not follow.
      const found = response as Promise<Response> | null;
      return found && (await found).text();
    },
  };
}

async function installed(version = "1") {
  const found = worker(version);
  await found.install();
  await found.activate();
  return found;
}

const SCRIPT = { mode: "no-cors", destination: "script" };
const FETCH = { mode: "cors", destination: "" };

test("the files of a build are kept, each by its digest", async () => {
  await installed();
  expect(sent).toHaveLength(FILES.length);
  expect(sent).toEqual(
    expect.arrayContaining(FILES.map(([url, integrity]) => ({ url, integrity }))),
  );
  expect([...(caches.shells.get("shell-1")?.keys() ?? [])].sort()).toEqual(
    FILES.map(([url]) => url).sort(),
  );
});

test.each([
  ["is missing", () => new Response("", { status: 404 })],
  ["is that of another build", () => Promise.reject(new TypeError("integrity"))],
])("a build of which a file %s is not kept at all", async (_, reply) => {
  answer = (url) => (url.startsWith("/assets/") ? reply() : new Response(url));
  await expect(worker("1").install()).rejects.toThrow();
  expect(caches.shells.size).toBe(0);
});

test("a new build loads only what changed, and the build before it stays", async () => {
  await installed("1");
  await installed("2");
  expect(sent.filter(({ url }) => url === "/assets/app-1.js")).toHaveLength(1);
  expect(sent.filter(({ url }) => url === "/")).toHaveLength(2);
  expect([...caches.shells.keys()]).toEqual(["shell-1", "shell-2"]);
  await installed("3");
  expect([...caches.shells.keys()]).toEqual(["shell-2", "shell-3"]);
});

test("caches of others are left alone", async () => {
  await caches.open("other");
  for (const version of ["1", "2", "3"]) await installed(version);
  expect(caches.shells.has("other")).toBe(true);
});

describe("a page", () => {
  test("is the server's when it answers", async () => {
    const { get } = await installed();
    expect(await get("/")).toBe("the server's /");
  });

  test.each([
    ["does not answer", () => Promise.reject(new TypeError("Failed to fetch"))],
    ["is behind a proxy that has none", () => new Response("{}", { status: 502 })],
    ["is busy", () => new Response("{}", { status: 503 })],
  ])("is the kept one when the server %s", async (_, reply: () => Answer) => {
    const { get } = await installed();
    answer = reply;
    expect(await get("/")).toBe("the server's /");
    expect(await get("/shows/42/")).toBe("the server's /shows/_");
  });

  test("is the kept one when no reply comes within three seconds", async () => {
    vi.useFakeTimers();
    const { get } = await installed();
    answer = () => new Promise(() => undefined);
    const page = get("/");
    await vi.advanceTimersByTimeAsync(3000);
    expect(await page).toBe("the server's /");
    vi.useRealTimers();
  });

  test("is the server's, though it is an error that the server decided", async () => {
    const { get } = await installed();
    answer = () => new Response("too many requests", { status: 429 });
    expect(await get("/")).toBe("too many requests");
  });

  test("of another address says so, and the proxy's reply for it is kept as it is", async () => {
    const { get } = await installed();
    answer = () => Promise.reject(new TypeError("Failed to fetch"));
    expect(await get("/api/docs")).toBe("the server's /404");
    answer = () => new Response("bad gateway", { status: 502 });
    expect(await get("/api/docs")).toBe("bad gateway");
  });

  test("in a frame passes the worker", async () => {
    const { get } = await installed();
    expect(await get("/sandbox/3ds/1", { mode: "navigate", destination: "iframe" })).toBeNull();
  });
});

describe("a script", () => {
  test("is the kept one, also of the build before", async () => {
    await installed("1");
    const { get } = await installed("2");
    answer = () => Promise.reject(new TypeError("Failed to fetch"));
    expect(await get("/assets/app-1.js", SCRIPT)).toBe("the server's /assets/app-1.js");
  });

  test("that is not kept comes from the server", async () => {
    const { get } = await installed();
    expect(await get("/assets/new-2.js", SCRIPT)).toBe("the server's /assets/new-2.js");
  });
});

test.each([
  ["the API", "/api/tickets?show_id=1", FETCH],
  ["the settings", "/shop.json", FETCH],
  ["another site", "https://js.stripe.com/v3", SCRIPT],
  ["a form", "/", { mode: "navigate", destination: "document", method: "POST" }],
])("a request of %s passes the worker", async (_, path, request) => {
  const { get } = await installed();
  expect(await get(path, request)).toBeNull();
});
