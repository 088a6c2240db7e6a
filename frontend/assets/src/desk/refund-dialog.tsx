// Refunds a sale, or all sales of its order: whether the tickets are put on sale again, and why.
import { type SyntheticEvent, useEffect, useRef, useState } from "react";

import { post } from "../shared/api";
import { fullName, money } from "../shared/format";
import { asProblem } from "../shared/http";
import { IdempotentRequest } from "../shared/idempotency";
import { text, type TextId } from "../shared/texts";
import { toast } from "../shared/ui/toasts";
import type { SaleRow } from "./sales-feed";

const MAX_REASON = 200;
const REFUSALS: Partial<Record<string, TextId>> = {
  already_refunded: "desk.refund_done_before",
  refund_in_progress: "desk.refund_in_progress",
  refund_refused: "desk.refund_refused",
  order_not_refundable: "desk.refund_impossible",
  offline: "desk.refund_offline",
};

interface RefundDialogProps {
  sale: SaleRow;
  /** Those of the same order that can be refunded as well, with the sale itself. */
  ofOrder: readonly SaleRow[];
  close: () => void;
  refresh: () => Promise<void>;
}

export function RefundDialog({ sale, ofOrder, close, refresh }: RefundDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [isWhole, setIsWhole] = useState(false);
  const [relist, setRelist] = useState(true);
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [request] = useState(() => new IdempotentRequest());
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const refunded = isWhole ? ofOrder : [sale];
  const amount = refunded.reduce((sum, { price, fee }) => sum + price + (fee ?? 0), 0);
  const total = money(amount, sale.currency);

  const refund = async (event: SyntheticEvent) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    const lines = refunded.map(({ ticket_id }) => ticket_id);
    const body = { lines, relist, reason: reason.trim() || null };
    try {
      await request.make(JSON.stringify(body), (idempotencyKey) => {
        const options = { params: { id: sale.order_id }, idempotencyKey };
        return post("/api/orders/{id}/refund", body, options);
      });
      toast(text("desk.refund_started", { amount: total }));
      await refresh();
      dialog.current?.close();
    } catch (error) {
      const { code, message } = asProblem(error);
      setProblem(REFUSALS[code] ? text(REFUSALS[code]) : message);
      void refresh();
    }
    setBusy(false);
  };
  return (
    <dialog
      ref={dialog}
      className="card export refund-dialog"
      aria-labelledby="refund-title"
      onClose={close}
    >
      <form onSubmit={refund}>
        <h2 id="refund-title">{text("desk.refund_title", { name: fullName(sale) })}</h2>
        <p className="soft">{text("desk.refund_about", { number: sale.order_number ?? "" })}</p>
        {ofOrder.length > 1 && (
          <fieldset>
            <legend>{text("desk.refund_which")}</legend>
            {[false, true].map((whole) => (
              <label key={String(whole)}>
                <input
                  type="radio"
                  name="refund-which"
                  checked={isWhole === whole}
                  onChange={() => {
                    setIsWhole(whole);
                  }}
                />
                {whole
                  ? text("desk.refund_all", { count: ofOrder.length })
                  : text("desk.refund_one")}
              </label>
            ))}
          </fieldset>
        )}
        <fieldset>
          <legend>{text("desk.refund_after")}</legend>
          {[true, false].map((again) => (
            <label key={String(again)}>
              <input
                type="radio"
                name="refund-relist"
                checked={relist === again}
                onChange={() => {
                  setRelist(again);
                }}
              />
              {text(again ? "desk.refund_relist" : "desk.refund_withdraw")}
            </label>
          ))}
        </fieldset>
        <div className="field">
          <label htmlFor="refund-reason">{text("desk.refund_reason")}</label>
          <input
            id="refund-reason"
            className="input"
            value={reason}
            maxLength={MAX_REASON}
            autoComplete="off"
            onChange={(event) => {
              setReason(event.target.value);
            }}
          />
        </div>
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <div className="export-actions">
          <button type="button" className="button quiet" onClick={() => dialog.current?.close()}>
            {text("desk.refund_keep")}
          </button>
          <button type="submit" className="button danger" disabled={busy}>
            {busy ? text("shared.one_moment") : text("desk.refund_confirm", { amount: total })}
          </button>
        </div>
      </form>
    </dialog>
  );
}
