// The signed-in user's account: the public handle, and the email that nobody else sees.
import type { User } from "../shared/api-types";
import { FormProblem, useForm } from "../shared/form";
import { changeHandle } from "../shared/session";
import { InputField } from "../shared/ui/field";
import { SignedInOnly } from "../shared/ui/signed-in-only";
import { toast } from "../shared/ui/toasts";
import { MoreTime } from "./more-time";
import { besideHandle, handleOf, MAX_HANDLE_LENGTH } from "./handle";

const ABOUT = "Your handle, as others see it, and your email.";

export function AccountPage() {
  return (
    <SignedInOnly title="Sign in to see your account" words={ABOUT} waiting={<Waiting />}>
      {(user) => <Account key={user.id} user={user} />}
    </SignedInOnly>
  );
}

function Account({ user }: { user: User }) {
  return (
    <>
      <HandleForm user={user} />
      <section className="card form" aria-label="Email">
        <div className="field">
          <b>Email</b>
          <span>{user.email}</span>
          <span className="note">Nobody else sees it. You sign in with it.</span>
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
      toast(`You are @${handleOf(handle)} now.`);
    },
  );
  const same = handleOf(values.handle) === user.handle;
  return (
    <form className="card form" {...form} aria-label="Handle">
      <FormProblem problem={problem} fields={["handle"]} />
      <InputField
        {...field("handle")}
        label="Handle"
        hint={
          <>
            Others see <b>@{user.handle}</b> beside the tickets that you sell. 3 to 24 letters from
            a to z, digits, and single dots, hyphens or underscores between them.
          </>
        }
        maxLength={MAX_HANDLE_LENGTH}
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
      />
      <p className="note">After a change, your former handle stays reserved for you for 90 days.</p>
      <div className="form-actions">
        <button className="button primary" disabled={busy || same}>
          {busy ? "One moment" : "Change handle"}
        </button>
      </div>
    </form>
  );
}

function Waiting() {
  return (
    <div aria-busy="true">
      <span className="unseen" role="status">
        Loading your account
      </span>
      <div className="skeleton" style={{ height: 310, borderRadius: 14 }} />
    </div>
  );
}
