// Signing in and signing up.
import { type ReactNode, type SyntheticEvent, useEffect, useRef, useState } from "react";
import { Link, useLocation, useNavigate } from "react-router";

import { rejectFields } from "../shared/form";
import { sentence } from "../shared/format";
import { asProblem, type Problem } from "../shared/http";
import { useValue } from "../shared/observable";
import { nextPage } from "../shared/next-page";
import { pastOutageText } from "../shared/outage";
import { signIn, signUp, user } from "../shared/session";
import { text } from "../shared/texts";
import { InputField } from "../shared/ui/field";

const MESSAGES: Record<string, string> = {
  bad_credentials: "That email and password don't go together.",
  email_taken: "There is an account with this email already. Sign in instead?",
  busy: "Many people are signing in right now. Try again in a moment.",
};

export function SignInForm() {
  const submit = (fields: Fields) => {
    requireFields(fields, { password: text("account.password_missing"), length: 1 });
    const { email, password } = fields;
    return signIn({ email, password });
  };
  const { search } = useLocation();
  return (
    <AccountForm
      button="Sign in"
      passwordKind="current-password"
      submit={submit}
      footer={
        <>
          New here? <Link to={`/signup${search}`}>Make an account</Link>
        </>
      }
    />
  );
}

export function SignUpForm() {
  const submit = (fields: Fields) => {
    requireFields(fields, { password: text("account.password_short"), length: MIN_PASSWORD });
    const { email, password } = fields;
    return signUp({ email, password });
  };
  const { search } = useLocation();
  return (
    <AccountForm
      button="Make an account"
      passwordKind="new-password"
      submit={submit}
      footer={
        <>
          You have one? <Link to={`/signin${search}`}>Sign in</Link>
        </>
      }
    />
  );
}

const FIELDS = ["email", "password"] as const;

interface Fields {
  email: string;
  password: string;
}

const MIN_PASSWORD = 8;

/** Throws the problem with all fields that lack something; the API would name the first only. */
function requireFields(fields: Fields, { password, length }: { password: string; length: number }) {
  rejectFields({
    ...(!/^[^\s@]+@[^\s@]+$/.test(fields.email.trim()) && { email: text("account.email_missing") }),
    ...(fields.password.length < length && { password }),
  });
}

interface AccountFormProps {
  button: string;
  passwordKind: "current-password" | "new-password";
  /** Throws a Problem. */
  submit: (fields: Fields) => Promise<void>;
  footer: ReactNode;
}

function AccountForm({ button, passwordKind, submit, footer }: AccountFormProps) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  useLeaveWhenSignedIn();

  const onSubmit = async (event: SyntheticEvent<HTMLFormElement>) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await submit(fieldsOf(event.currentTarget));
    } catch (error) {
      const refused = asProblem(error);
      setProblem(refused);
      setBusy(false);
      const wrong = FIELDS.find((field) => refused.messageFor(field));
      // A wrong password is typed wrongly more often than the email is.
      const typed = refused.code === "bad_credentials" ? "password" : "email";
      form.current?.querySelector<HTMLInputElement>(`[name=${wrong ?? typed}]`)?.select();
    }
  };

  const isNew = passwordKind === "new-password";
  return (
    <>
      <form className="card form" ref={form} onSubmit={onSubmit} noValidate>
        {problem?.fieldErrors.length === 0 && (
          <p className="problem" role="alert">
            {problem.outage
              ? text("shared.form_outage", { outage: pastOutageText(problem.outage) })
              : (MESSAGES[problem.code] ?? sentence(problem.message))}
          </p>
        )}
        <InputField
          name="email"
          type="email"
          label="Email"
          autoComplete="username"
          hint={isNew && "Nobody else sees it: others see a handle, which you can change"}
          problem={problem}
          required
        />
        <InputField
          name="password"
          type="password"
          label="Password"
          autoComplete={passwordKind}
          hint={isNew && "8 characters or more, best several words"}
          problem={problem}
          required
        />
        <button className="button primary full" disabled={busy}>
          {busy ? "One moment" : button}
        </button>
      </form>
      <p className="soft">{footer}</p>
    </>
  );
}

/** Leads on to the wanted page after a sign-in, here or in another tab. */
function useLeaveWhenSignedIn(): void {
  const signedIn = Boolean(useValue(user));
  const navigate = useNavigate();
  const { search } = useLocation();
  useEffect(() => {
    if (signedIn) void navigate(nextPage(search), { replace: true });
  }, [signedIn, navigate, search]);
}

function fieldsOf(form: HTMLFormElement): Fields {
  const data = new FormData(form);
  const field = (name: string) => {
    const value = data.get(name);
    return typeof value === "string" ? value : "";
  };
  return { email: field("email"), password: field("password") };
}
