// The owner of a show postpones or cancels it, each after a question.
import { useState } from "react";

import { post } from "../shared/api";
import type { Show } from "../shared/api-types";
import { asProblem } from "../shared/http";
import { IdempotentRequest } from "../shared/idempotency";
import { text, type TextId } from "../shared/texts";
import { toast } from "../shared/ui/toasts";

type Decision = "cancel" | "postpone";

const PATHS = {
  cancel: "/api/shows/{id}/cancel",
  postpone: "/api/shows/{id}/postpone",
} as const satisfies Record<Decision, string>;
const TEXTS: Record<Decision, Record<"title" | "note" | "confirm" | "done", TextId>> = {
  cancel: {
    title: "sell.cancel_title",
    note: "sell.cancel_note",
    confirm: "sell.cancel_confirm",
    done: "sell.cancelled",
  },
  postpone: {
    title: "sell.postpone_title",
    note: "sell.postpone_note",
    confirm: "sell.postpone_confirm",
    done: "sell.postponed",
  },
};

interface CallOffProps {
  show: Show;
  /** How many of the show's tickets are sold. */
  sold: number;
  onDone: () => void;
}

export function CallOff({ show, sold, onDone }: CallOffProps) {
  const [asked, setAsked] = useState<Decision | null>(null);
  if (show.status === "cancelled") {
    return (
      <p className="notice" role="status" data-winding-up={sold}>
        {sold > 0 ? text("sell.returning", { count: sold }) : text("sell.returned")}
      </p>
    );
  }
  if (asked) {
    const close = () => {
      setAsked(null);
    };
    return (
      <Question
        decision={asked}
        show={show}
        sold={sold}
        close={close}
        onDone={onDone}
        key={asked}
      />
    );
  }
  return (
    <p className="actions">
      {show.status === "postponed" && <span className="soft">{text("sell.postponed_hint")}</span>}
      {show.status === "on_sale" && (
        <button
          type="button"
          className="button quiet"
          onClick={() => {
            setAsked("postpone");
          }}
        >
          {text("sell.postpone")}
        </button>
      )}
      <button
        type="button"
        className="button quiet"
        onClick={() => {
          setAsked("cancel");
        }}
      >
        {text("sell.cancel")}
      </button>
    </p>
  );
}

function Question({
  decision,
  show,
  sold,
  close,
  onDone,
}: CallOffProps & { decision: Decision; close: () => void }) {
  const [busy, setBusy] = useState(false);
  const [request] = useState(() => new IdempotentRequest());
  const texts = TEXTS[decision];
  const decide = async () => {
    setBusy(true);
    try {
      await request.make(decision, (idempotencyKey) =>
        post(PATHS[decision], undefined, { params: { id: show.id }, idempotencyKey }),
      );
      toast(text(texts.done));
      close();
    } catch (error) {
      toast(asProblem(error).message);
    }
    setBusy(false);
    onDone();
  };
  return (
    <section className="card call-off" aria-label={text(texts.title)}>
      <h2 className="section-title">{text(texts.title)}</h2>
      <p>{text(texts.note, { count: sold })}</p>
      <p className="actions">
        <button type="button" className="button primary" onClick={decide} disabled={busy}>
          {text(texts.confirm)}
        </button>
        <button type="button" className="button quiet" onClick={close} disabled={busy}>
          {text("sell.leave")}
        </button>
      </p>
    </section>
  );
}
