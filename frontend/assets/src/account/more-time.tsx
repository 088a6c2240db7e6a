// The setting of an account that may extend its holds.
import { useState } from "react";

import type { User } from "../shared/api-types";
import { durationText } from "../shared/hold-tickets";
import { setNeedsMoreTime } from "../shared/session";
import { useSiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import { toast } from "../shared/ui/toasts";

const NOTE = "more-time-note";

export function MoreTime({ user }: { user: User }) {
  const time = durationText(useSiteConfig()?.hold_seconds ?? 60);
  const [failed, setFailed] = useState(false);
  const [busy, setBusy] = useState(false);
  const change = async (needs: boolean) => {
    if (busy) return;
    setBusy(true);
    setFailed(false);
    try {
      await setNeedsMoreTime(needs);
      toast(needs ? text("account.more_time_on", { time }) : text("account.more_time_off"));
    } catch {
      setFailed(true);
    } finally {
      setBusy(false);
    }
  };
  return (
    <section className="card form" aria-label={text("account.more_time_title")}>
      <div className="field">
        <label className="switch">
          <input
            type="checkbox"
            role="switch"
            checked={user.needs_more_time}
            aria-disabled={busy}
            aria-describedby={NOTE}
            onChange={({ target }) => void change(target.checked)}
          />
          {text("account.more_time")}
        </label>
        <span className="note" id={NOTE}>
          {text("account.more_time_note", { time, key: text("shared.more_time_key") })}
        </span>
        {failed && (
          <p className="problem" role="alert">
            {text("account.more_time_failed")}
          </p>
        )}
      </div>
    </section>
  );
}
