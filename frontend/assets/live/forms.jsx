// Forms whose words are never lost: what was typed is kept until it is sent, through refusals, reloads and signing in.
import { useEffect, useRef, useState } from "react";
import { Link, useLocation } from "react-router";

import { sentence } from "./account.jsx";
import { newKey, Problem } from "./api.js";
import { forget, keep, recall } from "./stored.js";

const WORDS = {
  offline: "No connection to the shop. What you typed is kept: try again when you are back.",
  not_your_show: "Only who added this show can change it.",
  not_your_ticket: "Only its seller can change this ticket.",
  ticket_taken: "Somebody has this ticket just now, so it stays as it is. What you typed is kept.",
  ticket_withdrawn: "This ticket was taken off sale.",
  version_mismatch: "It was changed elsewhere meanwhile. Look at it once more, then save again: what you typed is kept.",
  idempotency_key_in_flight: "It is being done already. Try again in a moment.",
};

/** What a form finds wrong before it asks: as the API would say it, `{field: words}`. */
export function refuse(fields) {
  const errors = Object.entries(fields).map(([field, message]) => ({ field, message }));
  if (errors.length) throw new Problem(422, { code: "invalid_input", errors });
}

/**
 * A form named `name`. Its values are `blank` with what was typed over it; `send(values, changes)` does its work, and
 * throws a Problem when it is refused. `field(name)` are the props of a field, `form` those of the form.
 */
export function useForm(name, blank, send) {
  const draft = draftOf(name);
  const [changes, setChanges] = useState(() => recall(draft) ?? {});
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const element = useRef(null);
  const values = { ...blank, ...changes };

  useEffect(() => element.current?.querySelector("[aria-invalid=true]")?.focus(), [problem]);
  const set = (more) => {
    const next = { ...changes, ...more };
    setChanges(next);
    keep(draft, next);
    setProblem((now) => now && without(now, Object.keys(more)));
  };
  /** Nothing is typed, but for what these say. */
  const reset = (kept = {}) => {
    forget(draft);
    forget(keyOf(name));
    setChanges(kept);
    setProblem(null);
  };
  const onSubmit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await send(values, changes);
    } catch (fault) {
      if (!(fault instanceof Problem)) throw fault;
      setProblem(fault);
    } finally {
      setBusy(false);
    }
  };
  const field = (of) => ({
    name: of,
    id: `${name}-${of}`,
    value: values[of],
    onChange: ({ target }) => set({ [of]: target.value }),
    problem,
  });
  return { values, changed: Object.keys(changes).length > 0, set, reset, busy, problem, field, form: { ref: element, onSubmit, noValidate: true } };
}

/** One key for one content: a repeat after a lost reply, or after a reload, does nothing twice. */
export function keyFor(name, content) {
  const of = JSON.stringify(content);
  const known = recall(keyOf(name));
  if (known?.of === of) return known.key;
  const key = newKey();
  keep(keyOf(name), { of, key });
  return key;
}

const draftOf = (name) => `gittix:draft:${name}`;
const keyOf = (name) => `gittix:key:${name}`;

/** What is wrong with the whole, where no field can say it. */
export function FormProblem({ problem, fields }) {
  const { pathname, search } = useLocation();
  if (!problem || problem.body.errors?.some(({ field }) => fields.includes(field))) return null;
  return (
    <p className="problem" role="alert">
      {problem.status === 401 ? (
        <>
          Your session has ended. <Link to={`/signin?next=${encodeURIComponent(pathname + search)}`}>Sign in again</Link>: what you typed
          is kept.
        </>
      ) : (
        (WORDS[problem.code] ?? sentence(problem.body.errors?.[0]?.message ?? problem.message))
      )}
    </p>
  );
}

/** The same refusal, with the errors of its fields said otherwise. */
export function reworded(problem, reword) {
  const errors = problem.body.errors?.map(reword);
  return new Problem(problem.status, { ...problem.body, ...(errors && { errors }) });
}

function without(problem, fields) {
  const errors = problem.body.errors?.filter(({ field }) => !fields.includes(field));
  return errors?.length ? new Problem(problem.status, { ...problem.body, errors }) : null;
}
