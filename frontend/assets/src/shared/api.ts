// The HTTP API, typed by its OpenAPI document: a path, its parameters, its body and its reply are
// checked against api-types.ts. The session is an HttpOnly cookie. When it has expired, it is
// refreshed once and the request is sent again.
import type { paths } from "./api-types";
import { readJson, type RequestOptions, send } from "./http";
import { memberId, refreshSession } from "./session-cookie";

type Method = "get" | "put" | "post" | "delete";
/** The paths that have an operation of this method. */
type PathWith<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, { responses: unknown }> ? P : never;
}[keyof paths];
type Operation<P extends keyof paths, M extends keyof paths[P]> = paths[P][M];

type Json<Content> = Content extends { content: { "application/json": infer Body } } ? Body : never;
type Success<Op> = Op extends { responses: infer Replies }
  ? Json<Replies[keyof Replies & (200 | 201 | 202)]>
  : never;
type BodyOf<Op> = Op extends { requestBody: infer Request } ? Json<Request> : undefined;
type QueryOf<Op> = Op extends { parameters: { query?: infer Query } } ? Query : undefined;
type PathOptions<Op> = Op extends { parameters: { path: infer Params } }
  ? { params: Params }
  : { params?: undefined };
type Options<Op> = RequestOptions & PathOptions<Op> & { query?: QueryOf<Op> };
/** The options are left out where the path has no parameters. */
type Rest<Op> = Partial<PathOptions<Op>> extends PathOptions<Op> ? [Options<Op>?] : [Options<Op>];

interface Page<Item = unknown> {
  items: Item[];
  next_cursor: string | null;
}
/** The paths whose GET returns a page of a list. */
type ListPath = {
  [P in PathWith<"get">]: Success<Operation<P, "get">> extends Page ? P : never;
}[PathWith<"get">];
type PageOf<P extends ListPath> = Success<Operation<P, "get">>;
type ItemOf<P extends ListPath> = Success<Operation<P, "get">>["items"][number];
interface ListOptions<P extends ListPath> {
  query?: QueryOf<Operation<P, "get">>;
  signal?: AbortSignal;
  /** Stop after this many pages. */
  pages: number;
  /** Called with the items of each page, and when its request was sent, by performance.now(). */
  onPage?: (items: ItemOf<P>[], sentAt: number) => void;
}

/** Any options, as the functions that send a request read them. */
type AnyOptions = RequestOptions & { params?: object; query?: object };

export function get<P extends PathWith<"get">>(path: P, ...[options]: Rest<Operation<P, "get">>) {
  return request("GET", path, undefined, options) as Promise<Success<Operation<P, "get">>>;
}

/** With the ETag, by which a later change overwrites nothing newer. */
export async function getWithTag<P extends PathWith<"get">>(
  path: P,
  ...[options]: Rest<Operation<P, "get">>
) {
  const response = await respond("GET", path, undefined, options);
  const body = (await readJson(response)) as Success<Operation<P, "get">>;
  return { body, tag: response.headers.get("etag") ?? "" };
}

export function post<P extends PathWith<"post">>(
  path: P,
  body: BodyOf<Operation<P, "post">> | URLSearchParams,
  ...[options]: Rest<Operation<P, "post">>
) {
  return request("POST", path, body, options) as Promise<Success<Operation<P, "post">>>;
}

export function put<P extends PathWith<"put">>(
  path: P,
  body: BodyOf<Operation<P, "put">>,
  ...[options]: Rest<Operation<P, "put">>
) {
  return request("PUT", path, body, options) as Promise<Success<Operation<P, "put">>>;
}

export async function remove<P extends PathWith<"delete">>(
  path: P,
  ...[options]: Rest<Operation<P, "delete">>
): Promise<void> {
  await request("DELETE", path, undefined, options);
}

/** A list that examined its share of rows and found none is read on, so often. */
const MAX_EMPTY_PAGES = 30;

/** The items of the first pages of a list, whether there are more, and the last page's reply. */
export async function getPages<P extends ListPath>(
  path: P,
  { pages, onPage, query, signal }: ListOptions<P>,
): Promise<{ items: ItemOf<P>[]; more: boolean; last: PageOf<P> | null }> {
  const items: ItemOf<P>[] = [];
  let last: PageOf<P> | null = null;
  let cursor: string | null = null;
  let empty = 0;
  for (let page = 0; page < pages + empty; page += 1) {
    const options: AnyOptions = { query: { ...query, cursor } };
    if (signal) options.signal = signal;
    const sentAt = performance.now();
    const reply = (await request("GET", path, undefined, options)) as Page<ItemOf<P>>;
    onPage?.(reply.items, sentAt);
    items.push(...reply.items);
    last = reply as PageOf<P>;
    cursor = reply.next_cursor;
    if (cursor === null) return { items, more: false, last };
    if (reply.items.length === 0 && empty < MAX_EMPTY_PAGES) empty += 1;
  }
  return { items, more: true, last };
}

const MAX_PAGES = 30;
const MAX_PAGE_SIZE = 100;

/** All items of a list, page after page. */
export async function getAll<P extends ListPath>(
  path: P,
  { query, pages = MAX_PAGES, ...options }: Partial<ListOptions<P>> = {},
): Promise<ItemOf<P>[]> {
  const full = { limit: MAX_PAGE_SIZE, ...query } as QueryOf<Operation<P, "get">>;
  return (await getPages(path, { ...options, pages, query: full })).items;
}

async function request(method: string, path: string, body?: unknown, options?: AnyOptions) {
  return readJson(await respond(method, path, body, options));
}

// A 401 of these is about a password, not about a session.
const SIGN_IN_PATHS = ["/api/users/signin", "/api/users/signup"];

async function respond(method: string, path: string, body?: unknown, options: AnyOptions = {}) {
  const url = urlOf(path, options);
  const response = await send(method, url, body, options);
  if (response.status !== 401 || !memberId.value || SIGN_IN_PATHS.includes(path)) return response;
  return (await refreshSession()) ? send(method, url, body, options) : response;
}

type Parameter = string | number | boolean | null | undefined;

/** The parameters of which an empty value is not the same as none. */
const EMPTY_MEANS = new Set(["section"]);

function urlOf(path: string, { params = {}, query = {} }: AnyOptions): string {
  const values = params as Record<string, string>;
  const url = path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(values[name] ?? ""),
  );
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query as Record<string, Parameter>)) {
    if (value === undefined || value === null) continue;
    if (value !== "" || EMPTY_MEANS.has(name)) search.set(name, String(value));
  }
  return search.size > 0 ? `${url}?${search}` : url;
}
