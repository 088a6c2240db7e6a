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
import { richText, text, type TextId } from "../shared/texts";
import { InputField } from "../shared/ui/field";

const MESSAGES: Partial<Record<string, TextId>> = {
  bad_credentials: "account.bad_credentials",
  email_taken: "account.email_taken",
  busy: "account.busy",
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
      button={text("account.sign_in")}
      passwordKind="current-password"
      submit={submit}
      footer={richText("account.new_here", {
        link: (words) => <Link to={`/signup${search}`}>{words}</Link>,
      })}
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
      button={text("account.sign_up")}
      passwordKind="new-password"
      submit={submit}
      footer={richText("account.have_one", {
        link: (words) => <Link to={`/signin${search}`}>{words}</Link>,
      })}
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
            {formMessage(problem)}
          </p>
        )}
        <InputField
          name="email"
          type="email"
          label={text("account.email")}
          autoComplete="username"
          hint={isNew && text("account.email_hint")}
          problem={problem}
          required
        />
        <InputField
          name="password"
          type="password"
          label={text("account.password")}
          autoComplete={passwordKind}
          hint={isNew && text("account.password_hint")}
          problem={problem}
          required
        />
        <button className="button primary full" disabled={busy}>
          {busy ? text("shared.one_moment") : button}
        </button>
      </form>
      <p className="soft">{footer}</p>
    </>
  );
}

function formMessage({ outage, code, message }: Problem): string {
  if (outage) return text("shared.form_outage", { outage: pastOutageText(outage) });
  const known = MESSAGES[code];
  return known ? text(known) : sentence(message);
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
