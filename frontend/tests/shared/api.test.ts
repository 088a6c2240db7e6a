import { beforeEach, describe, expect, test, vi } from "vitest";

import { stubBrowser } from "../browser";

type Api = typeof import("../../assets/src/shared/api");

const MEMBER = "gittix:member";
let api: Api;
let storage: Map<string, string>;
let requests: { method: string; url: string; headers: Record<string, string>; body: unknown }[];
let respond: (url: string) => Response | Promise<Response>;

beforeEach(() => {
  ({ storage } = stubBrowser());
  requests = [];
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    const headers = init.headers as Record<string, string>;
    requests.push({ method: init.method ?? "", url, headers, body: init.body });
    return Promise.resolve(respond(url));
  });
  vi.resetModules();
});

/** Import the API's client, as a visitor or as a signed-in user. */
async function load({ signedIn = false } = {}): Promise<void> {
  if (signedIn) storage.set(MEMBER, JSON.stringify("user"));
  api = await import("../../assets/src/shared/api");
}

const problem = (status: number, body: object = {}) => Response.json(body, { status });

test("a path's parameters are encoded, and empty ones of the query are left out", async () => {
  await load();
  respond = () => Response.json({});
  await api.get("/api/shows/{id}", { params: { id: "a/b" } });
  await api.get("/api/shows", { query: { q: "rock & roll", city: "", limit: 5 } });
  expect(requests.map(({ url }) => url)).toEqual([
    "/api/shows/a%2Fb",
    "/api/shows?q=rock+%26+roll&limit=5",
  ]);
});

test("a request has its idempotency key and the version that it changes", async () => {
  await load();
  respond = () => Response.json({});
  await api.post("/api/orders", { ticket_ids: ["1"] }, { idempotencyKey: "key" });
  await api.put("/api/tickets/{id}", {}, { params: { id: "1" }, tag: '"4"' });
  expect(requests[0]).toMatchObject({
    method: "POST",
    headers: { "Idempotency-Key": "key", "Content-Type": "application/json" },
    body: '{"ticket_ids":["1"]}',
  });
  expect(requests[1]?.headers).toMatchObject({ "If-Match": '"4"' });
});

describe("an error response", () => {
  test("is a Problem with its code and the messages of its fields", async () => {
    await load();
    const errors = [{ field: "price", message: "too low" }];
    respond = () => problem(422, { code: "invalid_input", detail: "Look at the fields.", errors });
    const error: unknown = await api.get("/api/shows").catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      status: 422,
      code: "invalid_input",
      message: "Look at the fields.",
    });
    const { messageFor } = error as { messageFor: (field: string) => string | undefined };
    expect(messageFor.call(error, "price")).toBe("too low");
    expect(messageFor.call(error, "seat")).toBeUndefined();
  });

  test("without JSON is a Problem of unknown code", async () => {
    await load();
    respond = () => new Response("<h1>Teapot</h1>", { status: 418 });
    await expect(api.get("/api/shows")).rejects.toMatchObject({ status: 418, code: "unknown" });
  });

  test("that never came is a Problem without status", async () => {
    await load();
    respond = () => Promise.reject(new TypeError("Failed to fetch"));
    const unreachable = { status: 0, code: "unreachable", outage: "unreachable" };
    await expect(api.get("/api/shows")).rejects.toMatchObject(unreachable);
    vi.stubGlobal("navigator", { onLine: false });
    const offline = { status: 0, code: "offline", outage: "offline" };
    await expect(api.get("/api/shows")).rejects.toMatchObject(offline);
  });
});

describe("an expired session", () => {
  const expiredUntilRefresh = () => {
    let refreshed = false;
    return (url: string) => {
      if (url === "/api/users/refresh") {
        refreshed = true;
        return new Response(null, { status: 204 });
      }
      return refreshed ? Response.json({ items: [], next_cursor: null }) : problem(401);
    };
  };

  test("is refreshed once for concurrent requests, and they are sent again", async () => {
    await load({ signedIn: true });
    respond = expiredUntilRefresh();
    await Promise.all([api.get("/api/orders"), api.get("/api/sales"), api.get("/api/orders")]);
    const urls = requests.map(({ url }) => url);
    expect(urls.filter((url) => url === "/api/users/refresh")).toHaveLength(1);
    expect(urls.filter((url) => url === "/api/orders")).toHaveLength(4);
  });

  test("that cannot be refreshed signs the user out", async () => {
    await load({ signedIn: true });
    respond = () => problem(401);
    await expect(api.get("/api/orders")).rejects.toMatchObject({ status: 401 });
    expect(storage.has(MEMBER)).toBe(false);
  });

  test("of a visitor is not refreshed, nor after a wrong password", async () => {
    await load();
    respond = () => problem(401);
    await expect(api.get("/api/orders")).rejects.toMatchObject({ status: 401 });
    await load({ signedIn: true });
    const credentials = { email: "a@example.org", password: "wrong" };
    await expect(api.post("/api/users/signin", credentials)).rejects.toMatchObject({ status: 401 });
    expect(requests.map(({ url }) => url)).toEqual(["/api/orders", "/api/users/signin"]);
  });
});

describe("lists", () => {
  /** Three pages of one item. */
  const paged = (url: string) => {
    const page = Number(new URLSearchParams(url.split("?")[1]).get("cursor") ?? 0);
    const next = page === 2 ? null : String(page + 1);
    return Response.json({ items: [{ id: `show-${page}` }], next_cursor: next });
  };

  test("getAll reads page after page", async () => {
    await load();
    respond = paged;
    const shows = await api.getAll("/api/shows", { query: { owner: "me" } });
    expect(shows.map(({ id }) => id)).toEqual(["show-0", "show-1", "show-2"]);
    expect(requests.at(-1)?.url).toBe("/api/shows?limit=100&owner=me&cursor=2");
  });

  test("getPages stops after its pages and returns whether there are more", async () => {
    await load();
    respond = paged;
    const onPage = vi.fn();
    expect(await api.getPages("/api/shows", { pages: 2, onPage })).toMatchObject({ more: true });
    expect(onPage).toHaveBeenCalledTimes(2);
    expect(await api.getPages("/api/shows", { pages: 9 })).toMatchObject({ more: false });
  });

  test("getPages reads on after a page without items", async () => {
    await load();
    let sent = 0;
    respond = () => {
      sent += 1;
      return Response.json({ items: sent < 4 ? [] : [{ id: "rare" }], next_cursor: String(sent) });
    };
    const { items, more } = await api.getPages("/api/shows", { pages: 1 });
    expect([items, more, sent]).toEqual([[{ id: "rare" }], true, 4]);
    respond = () => {
      sent += 1;
      return Response.json({ items: [], next_cursor: "again" });
    };
    sent = 0;
    expect(await api.getPages("/api/shows", { pages: 1 })).toMatchObject({ items: [], more: true });
    expect(sent).toBe(31);
  });
});
