// The HTTP API, as the shop speaks it. The session is a cookie that no script can read; when it has run out, it is
// refreshed once and the request is sent again.
import { heard } from "./clock.js";
import { Observable } from "./observable.js";
import { forget, keep, recall } from "./stored.js";

// uvicorn renews its Date header once a second, and that has no fractions: the true time is up to two seconds later.
const DATE_LAG_MS = 1000;
const MEMBER = "gittix:member";
const RENEWED = "gittix:renewed";
const LASTING = { lasting: true };
// A 401 here is about a password, not about a session.
const SIGNING_IN = ["/api/users/signin", "/api/users/signup"];

/** A refusal: RFC 9457 problem+json, or no answer at all (`status` 0). */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail ?? body.title ?? "The shop did not answer.");
    this.status = status;
    this.code = body.code ?? (status === 0 ? "offline" : "unknown");
    this.body = body;
  }

  /** What is wrong with a field, if that is what was refused. */
  of(field) {
    return this.body.errors?.find((error) => error.field === field)?.message;
  }
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body, options) => call("POST", path, body, options);
/** With its `tag`, which a change names so that it overwrites nothing newer. */
export const getTagged = (path, options) => call("GET", path, undefined, { ...options, tagged: true });
export const put = (path, body, options) => call("PUT", path, body, options);
export const remove = (path, options) => call("DELETE", path, undefined, options);

/** All items of a list, page after page. */
export async function getAll(path, { signal, pages = 30 } = {}) {
  const items = [];
  let cursor = "";
  for (let page = 0; page < pages; page += 1) {
    const answer = await get(`${path}&limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`, { signal });
    items.push(...answer.items);
    cursor = answer.next_cursor;
    if (!cursor) break;
  }
  return items;
}

async function call(method, path, body, options) {
  let response = await send(method, path, body, options);
  if (response.status === 401 && member.value && !SIGNING_IN.includes(path) && (await refreshed())) {
    response = await send(method, path, body, options);
  }
  const text = await response.text();
  const answer = text ? parsed(text) : null;
  if (!response.ok) throw new Problem(response.status, answer ?? {});
  return options?.tagged ? { ...answer, tag: response.headers.get("etag") } : answer;
}

async function send(method, path, body, { signal, key, tag } = {}) {
  const headers = { Accept: "application/json" };
  const form = body instanceof URLSearchParams;
  if (body !== undefined && !form) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  if (tag) headers["If-Match"] = tag;
  const sentAt = performance.now();
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: form ? body : body && JSON.stringify(body) });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Problem(0);
  }
  heard(Date.parse(response.headers.get("date")) + DATE_LAG_MS, sentAt, performance.now(), DATE_LAG_MS);
  return response;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

let refreshing = null;

/** Whether the session could be renewed. Many may ask; one request is sent. */
export function refreshed() {
  refreshing ??= send("POST", "/api/users/refresh")
    .then((response) => {
      if (response.ok) keep(RENEWED, Date.now(), LASTING);
      if (response.status === 401) rememberMember(null);
      return response.ok;
    })
    .finally(() => {
      refreshing = null;
    });
  return refreshing;
}

/** The id of who signed in on this browser, or null: then a visitor's session is not worth a question. */
export const member = new Observable(recall(MEMBER, LASTING));

export function rememberMember(id) {
  if (id) {
    keep(MEMBER, id, LASTING);
    keep(RENEWED, Date.now(), LASTING);
  } else forget(MEMBER, LASTING);
  member.set(id);
}

/** Hear of other tabs of this browser that sign in or out. */
export function watchTabs() {
  addEventListener("storage", ({ key }) => key === MEMBER && member.set(recall(MEMBER, LASTING)));
}

/** When this browser's session was last renewed, on the browser's own clock; null when that is not known. */
export const renewedAt = () => recall(RENEWED, LASTING);

/** A new Idempotency-Key; crypto.randomUUID is missing where the shop is read without TLS. */
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What a visitor tries, under an Idempotency-Key: a repeat after a lost reply has the same, anything else a new one. */
export class Attempt {
  #what = null;
  #key = "";

  /** `send(key)`, to do `what`. */
  async make(what, send) {
    if (what !== this.#what) this.#key = newKey();
    this.#what = what;
    try {
      const answer = await send(this.#key);
      this.#what = null;
      return answer;
    } catch (fault) {
      if (fault.status > 0 && fault.status < 500) this.#what = null;
      throw fault;
    }
  }
}

let facts = null;

/** What this installation says of itself: seconds of a hold, fee, where push is. */
export function shopFacts() {
  facts ??= get("/shop.json").catch((fault) => {
    facts = null;
    throw fault;
  });
  return facts;
}
