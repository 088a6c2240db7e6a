// The signed-in user's account: the public handle, and the email that nobody else sees.
import type { User } from "../shared/api-types";
import { FormProblem, useForm } from "../shared/form";
import { changeHandle } from "../shared/session";
import { richText, text } from "../shared/texts";
import { InputField } from "../shared/ui/field";
import { SignedInOnly } from "../shared/ui/signed-in-only";
import { toast } from "../shared/ui/toasts";
import { MoreTime } from "./more-time";
import { besideHandle, handleOf, MAX_HANDLE_LENGTH } from "./handle";

export function AccountPage() {
  return (
    <SignedInOnly
      title={text("account.sign_in_first")}
      words={text("account.about")}
      waiting={<Waiting />}
    >
      {(user) => <Account key={user.id} user={user} />}
    </SignedInOnly>
  );
}

function Account({ user }: { user: User }) {
  return (
    <>
      <HandleForm user={user} />
      <section className="card form" aria-label={text("account.email")}>
        <div className="field">
          <b>{text("account.email")}</b>
          <span>{user.email}</span>
          <span className="note">{text("account.email_note")}</span>
        </div>
      </section>
      <MoreTime user={user} />
    </>
  );
}

function HandleForm({ user }: { user: User }) {
  const initial = { handle: user.handle };
  const { values, field, form, busy, problem } = useForm(
    `${user.id}:handle`,
    initial,
    async ({ handle }, { reset }) => {
      await besideHandle(() => changeHandle(handle));
      reset();
      toast(text("account.handle_changed", { handle: handleOf(handle) }));
    },
  );
  const same = handleOf(values.handle) === user.handle;
  return (
    <form className="card form" {...form} aria-label={text("account.handle")}>
      <FormProblem problem={problem} fields={["handle"]} />
      <InputField
        {...field("handle")}
        label={text("account.handle")}
        hint={richText("account.handle_hint", {
          handle: user.handle,
          b: (words) => <b>{words}</b>,
        })}
        maxLength={MAX_HANDLE_LENGTH}
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
      />
      <p className="note">{text("account.handle_note")}</p>
      <div className="form-actions">
        <button className="button primary" disabled={busy || same}>
          {text(busy ? "shared.one_moment" : "account.change_handle")}
        </button>
      </div>
    </form>
  );
}

function Waiting() {
  return (
    <div aria-busy="true">
      <span className="unseen" role="status">
        {text("account.loading")}
      </span>
      <div className="skeleton" style={{ height: 310, borderRadius: 14 }} />
    </div>
  );
}
