// Forms whose input is never lost: it is kept until it is sent, through refusals, reloads and
// signing in. Decision 29 has why this is no library.
import { type SyntheticEvent, useEffect, useRef, useState } from "react";
import { Link, useLocation } from "react-router";

import type { FieldError } from "./api-types";
import { forget, keep, recall } from "./browser-storage";
import { sentence } from "./format";
import { Problem } from "./http";
import { newKey } from "./idempotency";
import { pastOutageText } from "./outage";
import { richText, text, type TextId } from "./texts";

const MESSAGES: Partial<Record<string, TextId>> = {
  not_your_show: "shared.form_not_your_show",
  listing_closed: "shared.form_listing_closed",
  too_many_listed: "shared.form_too_many_listed",
  sales_ended: "shared.form_sales_ended",
  not_your_ticket: "shared.form_not_your_ticket",
  ticket_taken: "shared.form_ticket_taken",
  ticket_withdrawn: "shared.form_ticket_withdrawn",
  version_mismatch: "shared.form_version_mismatch",
  idempotency_key_in_flight: "shared.form_in_flight",
};

/** Error messages by the names of their fields. */
export type FieldMessages = Partial<Record<string, string>>;

/** Throws the Problem that the API would answer with, when there are messages. */
export function rejectFields(messages: FieldMessages): void {
  const errors = Object.entries(messages).map(([field, message = ""]) => ({ field, message }));
  if (errors.length) throw new Problem(422, { code: "invalid_input", errors });
}

export interface FieldProps {
  name: string;
  id: string;
  value: string;
  onChange: (event: { target: { value: string } }) => void;
  problem: Problem | null;
}

/** A form's state, and the props of its elements. */
export interface Form<V extends object> {
  values: V;
  /** Whether anything was typed. */
  changed: boolean;
  /** Change some values. */
  set: (values: Partial<V>) => void;
  /** Back to the initial values, but for these. */
  reset: (kept?: Partial<V>) => void;
  busy: boolean;
  problem: Problem | null;
  field: (name: keyof V & string) => FieldProps;
  form: {
    ref: React.RefObject<HTMLFormElement | null>;
    onSubmit: (event: SyntheticEvent) => Promise<void>;
    noValidate: true;
  };
}

/** The second argument of a form's `send`. */
export interface Sending<V extends object> {
  /** The values that were typed. */
  changes: Partial<V>;
  /** Form.reset, for after the request. */
  reset: Form<V>["reset"];
}

/**
 * The form with this name. Its values are `initial` with the draft over them. `send` submits them
 * and throws a Problem when they are refused.
 */
export function useForm<V extends object>(
  name: string,
  initial: V,
  send: (values: V, sending: Sending<V>) => Promise<void>,
): Form<V> {
  const draft = draftName(name);
  const [changes, setChanges] = useState<Partial<V>>(() => recall(draft) ?? {});
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const element = useRef<HTMLFormElement>(null);
  const submitted = useRef<HTMLElement | null>(null);
  const values = { ...initial, ...changes };

  useEffect(() => {
    element.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [problem]);
  useEffect(() => {
    // A button that is disabled while the form is busy loses the focus.
    if (!busy && submitted.current) restoreFocus(submitted.current, element.current);
    if (!busy) submitted.current = null;
  }, [busy]);
  const set = (more: Partial<V>) => {
    const next = { ...changes, ...more };
    setChanges(next);
    keep(draft, next);
    setProblem((shown) => shown && withoutFields(shown, Object.keys(more)));
  };
  const reset = (kept: Partial<V> = {}) => {
    discardDraft(name);
    setChanges(kept);
    setProblem(null);
  };
  const onSubmit = async (event: SyntheticEvent) => {
    event.preventDefault();
    if (document.activeElement instanceof HTMLElement) submitted.current = document.activeElement;
    setBusy(true);
    setProblem(null);
    try {
      await send(values, { changes, reset });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    } finally {
      setBusy(false);
    }
  };
  const field = (of: keyof V & string): FieldProps => ({
    name: of,
    id: `${name}-${of}`,
    value: String(values[of]),
    onChange: ({ target }) => {
      set({ [of]: target.value } as Partial<V>);
    },
    problem,
  });
  const changed = Object.keys(changes).length > 0;
  const form = { ref: element, onSubmit, noValidate: true } as const;
  return { values, changed, set, reset, busy, problem, field, form };
}

/** Back to the element that submitted the form, or to its first field when that is disabled. */
function restoreFocus(submitter: HTMLElement, form: HTMLFormElement | null): void {
  const { activeElement } = document;
  if (activeElement !== null && activeElement !== document.body) return;
  const enabled = submitter.isConnected && !submitter.matches(":disabled");
  (enabled ? submitter : form?.querySelector<HTMLElement>("input, select"))?.focus();
}

/**
 * The idempotency key for this content: a repeat after a lost response or a reload has the same.
 */
export function keyFor(name: string, content: object): string {
  const serialized = JSON.stringify(content);
  const known = recall(keyName(name)) as { of: string; key: string } | null;
  if (known?.of === serialized) return known.key;
  const key = newKey();
  keep(keyName(name), { of: serialized, key });
  return key;
}

/** Forget the input of a form that is not shown any more. */
export function discardDraft(name: string): void {
  forget(draftName(name));
  forget(keyName(name));
}

const draftName = (name: string) => `gittix:draft:${name}`;
const keyName = (name: string) => `gittix:key:${name}`;

/** The problem of the form as a whole, unless one of these fields shows it. */
export function FormProblem({
  problem,
  fields,
}: {
  problem: Problem | null;
  fields: readonly string[];
}) {
  if (!problem || problem.fieldErrors.some(({ field }) => fields.includes(field))) return null;
  const { status, code, message, fieldErrors, outage } = problem;
  const words = outage
    ? text("shared.form_outage", { outage: pastOutageText(outage) })
    : messageText(code, fieldErrors[0]?.message ?? message);
  return (
    <p className="problem" role="alert">
      {status === 401 ? <SessionEnded /> : words}
    </p>
  );
}

function messageText(code: string, message: string): string {
  const known = MESSAGES[code];
  return known ? text(known) : sentence(message);
}

function SessionEnded() {
  const { pathname, search } = useLocation();
  const signIn = `/signin?next=${encodeURIComponent(pathname + search)}`;
  return richText("shared.form_session_ended", {
    link: (content) => <Link to={signIn}>{content}</Link>,
  });
}

/** The same problem with other words for its fields. */
export function reword(problem: Problem, each: (error: FieldError) => FieldError): Problem {
  return withErrors(problem, problem.fieldErrors.map(each));
}

function withoutFields(problem: Problem, fields: readonly string[]): Problem | null {
  const errors = problem.fieldErrors.filter(({ field }) => !fields.includes(field));
  return errors.length ? withErrors(problem, errors) : null;
}

function withErrors(problem: Problem, errors: FieldError[]): Problem {
  return new Problem(problem.status, { ...problem.body, errors });
}
