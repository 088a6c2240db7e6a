// Signing in and up, and the header's account menu.
import { useEffect, useRef, useState } from "react";
import { Link, useLocation, useNavigate } from "react-router";

import { useValue } from "./observable.js";
import { askUser, nextPage, signIn, signOut, user } from "./session.js";
import { toast } from "./toasts.jsx";

const WORDS = {
  bad_credentials: "That email and password don't go together.",
  email_taken: "There is an account with this email already. Sign in instead?",
  too_many_attempts: "That were many tries. Wait a minute, then try again.",
  busy: "Many people are signing in right now. Try again in a moment.",
  offline: "No connection to the shop. Check your network and try again.",
};

export function AccountMenu() {
  const who = useValue(user);
  const { pathname, search } = useLocation();
  const menu = useRef(null);
  const farewell = useFarewell(who);
  useEffect(() => void askUser(), []);
  if (who === undefined) return <span className="account-place" />;
  if (who === null) {
    const next = pathname.startsWith("/sign") ? search : `?next=${encodeURIComponent(pathname + search)}`;
    return (
      <Link className="button small" to={`/signin${next}`}>
        Sign in
      </Link>
    );
  }
  const close = () => (menu.current.open = false);
  const leave = async (everywhere, words) => {
    close();
    farewell.current = words;
    await signOut({ everywhere }).catch(() => toast("You could not be signed out. Try again."));
  };
  return (
    <details
      className="account"
      ref={menu}
      onKeyDown={(event) => event.key === "Escape" && close()}
      onBlur={(event) => event.currentTarget.contains(event.relatedTarget) || close()}
    >
      <summary className="button quiet small">Account</summary>
      <div className="card menu">
        <p>
          <b>{who.name}</b>
          <br />
          <span className="note" title={who.email}>
            {who.email}
          </span>
        </p>
        <button type="button" onClick={() => leave(false, "You are signed out.")}>
          Sign out
        </button>
        <button type="button" onClick={() => leave(true, "You are signed out on every device.")}>
          Sign out everywhere
        </button>
      </div>
    </details>
  );
}

/** Say it when nobody is signed in any more: what was asked for here, else that it happened elsewhere. */
function useFarewell(who) {
  const before = useRef(null);
  const words = useRef(null);
  useEffect(() => {
    if (before.current && who === null) toast(words.current ?? "You were signed out elsewhere. Sign in again to go on.");
    before.current = who;
    words.current = null;
  }, [who]);
  return words;
}

export function SignInForm() {
  return (
    <AccountForm path="/api/users/signin" button="Sign in" password="current-password">
      {(search) => (
        <>
          New here? <Link to={`/signup${search}`}>Make an account</Link>
        </>
      )}
    </AccountForm>
  );
}

export function SignUpForm() {
  return (
    <AccountForm path="/api/users/signup" button="Make an account" password="new-password" named>
      {(search) => (
        <>
          You have one? <Link to={`/signin${search}`}>Sign in</Link>
        </>
      )}
    </AccountForm>
  );
}

function AccountForm({ path, button, password, named = false, children }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const navigate = useNavigate();
  const { search } = useLocation();
  const form = useRef(null);
  const who = useValue(user);
  useEffect(() => {
    if (who) navigate(nextPage(search), { replace: true });
  }, [who]);

  const submit = async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(form.current));
    if (!fields.name) delete fields.name;
    setBusy(true);
    setProblem(null);
    try {
      await signIn(path, fields);
    } catch (fault) {
      setProblem(fault);
      setBusy(false);
      const wrong = ["email", "password", "name"].find((field) => fault.of?.(field)) ?? "email";
      form.current.elements[wrong]?.focus();
    }
  };

  const general = problem && !problem.body?.errors?.length && (WORDS[problem.code] ?? sentence(problem.message));
  return (
    <>
      <form className="card form" ref={form} onSubmit={submit} noValidate>
        {general && (
          <p className="problem" role="alert">
            {general}
          </p>
        )}
        {named && <Field name="name" label="Name, as others see it" hint="Optional" autoComplete="nickname" problem={problem} />}
        <Field name="email" type="email" label="Email" autoComplete="username" problem={problem} required />
        <Field
          name="password"
          type="password"
          label="Password"
          autoComplete={password}
          hint={named ? "8 characters or more" : undefined}
          problem={problem}
          required
        />
        <button className="button primary full" disabled={busy}>
          {busy ? "One moment" : button}
        </button>
      </form>
      <p className="soft">{children(search)}</p>
    </>
  );
}

/** A labelled input, or another control, with its hint and with what the API says is wrong with it. */
export function Field({ name, id = name, as: Control = "input", label, hint, problem, ...control }) {
  const wrong = problem?.of?.(name);
  const notes = [hint && `${id}-hint`, wrong && `${id}-problem`].filter(Boolean).join(" ");
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <Control id={id} name={name} aria-invalid={Boolean(wrong)} aria-describedby={notes || undefined} {...control} />
      {hint && (
        <span className="note" id={`${id}-hint`}>
          {hint}
        </span>
      )}
      {wrong && (
        <span className="problem" id={`${id}-problem`}>
          {sentence(wrong)}
        </span>
      )}
    </div>
  );
}

export function sentence(words) {
  return words.charAt(0).toUpperCase() + words.slice(1) + (/[.?]$/.test(words) ? "" : ".");
}
