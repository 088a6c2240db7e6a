// Sends one request to the API. An error response, or no response at all, is thrown as a Problem.
import type { FieldError, OrderShow, ProblemBody } from "./api-types";
import { learnServerTime } from "./clock";
import { noteResponse, noteSilence, type Outage, outageOf } from "./reach";
import { text } from "./texts";

// uvicorn renews its Date header once a second, and the header has no fractions: the true time is
// up to two seconds later.
const DATE_LAG_MS = 1000;
// On a stalled network a request would have no end. A write may wait for Stripe.
const READ_TIMEOUT_MS = 10_000;
const WRITE_TIMEOUT_MS = 60_000;

/** The members that some problems carry beside those of every ProblemBody. */
interface ProblemDetails {
  ticket_id?: string;
  held_until?: string | null;
  retry_at?: string;
  /** Which budget must wait until `retry_at`. */
  limited?: "account" | "network";
  max_tickets_per_show?: number;
  /** With price_changed: the order's total, and the one that the page showed. */
  total?: number;
  shown_total?: number;
  currency?: string;
  /** With show_changed: the shows as they are now, by their ids. */
  shows?: Record<string, OrderShow>;
}

/** An error response (RFC 9457 problem+json), or no response at all (`status` 0). */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  /** Set when the shop did not do the work because of an outage. */
  readonly outage: Outage | null;
  readonly body: Partial<ProblemBody> & ProblemDetails;

  constructor(status: number, body: Partial<ProblemBody> & ProblemDetails = {}) {
    super(body.detail ?? body.title ?? text("shared.outage_unreachable"));
    this.name = "Problem";
    this.status = status;
    this.outage = outageOf(status, body.code);
    this.code = body.code ?? this.outage ?? "unknown";
    this.body = body;
  }

  get fieldErrors(): FieldError[] {
    return this.body.errors ?? [];
  }

  /** The error message of a form field, if the API rejected that field. */
  messageFor(field: string): string | undefined {
    return this.fieldErrors.find((error) => error.field === field)?.message;
  }
}

/** A Problem as it is; any other error as a Problem of unknown cause. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem(-1, { detail: error instanceof Error ? error.message : String(error) });
}

export interface RequestOptions {
  signal?: AbortSignal;
  /** Sent as Idempotency-Key: the API performs requests with the same key once. */
  idempotencyKey?: string;
  /** Sent as If-Match: the API rejects a change of any other version. */
  tag?: string;
}

/** Returns the response of any status. Throws a Problem without status when none came. */
export async function send(
  method: string,
  url: string,
  body?: unknown,
  { signal, idempotencyKey, tag }: RequestOptions = {},
): Promise<Response> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  if (tag) headers["If-Match"] = tag;
  const timeout = AbortSignal.timeout(method === "GET" ? READ_TIMEOUT_MS : WRITE_TIMEOUT_MS);
  const init: RequestInit = { method, headers };
  init.signal = signal ? AbortSignal.any([signal, timeout]) : timeout;
  if (body instanceof URLSearchParams) init.body = body;
  else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  const sentAt = performance.now();
  const response = await fetch(url, init).catch((error: unknown) => {
    if (!isAbort(error)) noteSilence(url);
    return rethrow(error);
  });
  void noteResponse(url, response);
  const date = Date.parse(response.headers.get("date") ?? "");
  learnServerTime(date + DATE_LAG_MS, sentAt, performance.now(), DATE_LAG_MS);
  return response;
}

/** The response's JSON, null when it has no body. Throws a Problem for an error status. */
export async function readJson(response: Response): Promise<unknown> {
  const body = parse(await response.text().catch(rethrow));
  if (!response.ok) throw new Problem(response.status, body ?? {});
  return body;
}

function rethrow(error: unknown): never {
  throw isAbort(error) ? error : new Problem(0);
}

export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}

function parse(text: string): Partial<ProblemBody> | null {
  try {
    return JSON.parse(text) as Partial<ProblemBody>;
  } catch {
    return null;
  }
}
