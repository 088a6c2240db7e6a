// Stripe's Payment Element. The card's data goes from it to Stripe; the shop gets the id of a
// payment method.
import { type RefObject, useEffect, useImperativeHandle, useRef, useState } from "react";

import { toWire } from "../shared/currencies";
import { Problem } from "../shared/http";
import type { OrderRow } from "../shared/push-messages";
import { text } from "../shared/texts";
import { Empty } from "../shared/ui/page-states";
import { type CardInput, SHOWN_AT_FIELD } from "./card-input";
import {
  loadStripe,
  type Stripe,
  type StripeElement,
  type StripeElements,
  type StripeError,
} from "./stripe";

interface Mounted {
  stripe: Stripe;
  elements: StripeElements;
  element: StripeElement;
}

interface StripeCardProps {
  ref: RefObject<CardInput | null>;
  order: OrderRow;
  publishableKey: string;
  disabled: boolean;
}

export function StripeCard({ ref, order, publishableKey, disabled }: StripeCardProps) {
  const container = useRef<HTMLDivElement>(null);
  const mounted = useRef<Mounted>(null);
  const [state, setState] = useState<"loading" | "ready" | "failed">("loading");
  const [attempt, setAttempt] = useState(0);
  const { total, currency } = order;

  useEffect(() => {
    let wanted = true;
    loadStripe(publishableKey).then(
      (stripe) => {
        if (!wanted || !container.current) return;
        mounted.current = mount(stripe, container.current, { total, currency }, () => {
          setState("ready");
        });
      },
      () => {
        if (wanted) setState("failed");
      },
    );
    return () => {
      wanted = false;
      mounted.current?.element.destroy();
      mounted.current = null;
    };
  }, [publishableKey, total, currency, attempt]);

  useEffect(() => {
    mounted.current?.element.update({ readOnly: disabled });
  }, [disabled]);
  useImperativeHandle(ref, () => ({ paymentMethod: () => paymentMethodOf(mounted.current) }), []);

  const retry = () => {
    setState("loading");
    setAttempt(attempt + 1);
  };
  if (state === "failed") {
    return (
      <Empty
        title={text("checkout.card_failed")}
        action={
          <button type="button" className="button quiet" onClick={retry}>
            {text("shared.try_again")}
          </button>
        }
      >
        {text("checkout.card_failed_note")}
      </Empty>
    );
  }
  return (
    <fieldset className="stripe-card">
      <legend className="section-title">{text("checkout.choose_card")}</legend>
      {state === "loading" && <div className="skeleton stripe-card-waiting" aria-busy="true" />}
      <div ref={container} />
    </fieldset>
  );
}

function mount(
  stripe: Stripe,
  container: HTMLElement,
  { total, currency }: { total: number; currency: string },
  onReady: () => void,
): Mounted {
  const elements = stripe.elements({
    mode: "payment",
    amount: toWire(total, currency),
    currency: currency.toLowerCase(),
    captureMethod: "manual",
    paymentMethodCreation: "manual",
    paymentMethodTypes: ["card"],
    appearance: appearance(),
  });
  const element = elements.create("payment");
  element.on("ready", onReady);
  element.mount(container);
  return { stripe, elements, element };
}

async function paymentMethodOf(mounted: Mounted | null): Promise<string> {
  if (!mounted) throw noCard();
  const { stripe, elements } = mounted;
  const checked = await elements.submit();
  if (checked.error) throw problemOf(checked.error);
  const created = await stripe.createPaymentMethod({ elements });
  if (created.error) throw problemOf(created.error);
  if (!created.paymentMethod) throw noCard();
  return created.paymentMethod.id;
}

const noCard = () => new Problem(-1, { detail: text("checkout.card_failed") });

function problemOf({ type, message }: StripeError): Problem {
  const code = type === "validation_error" ? SHOWN_AT_FIELD : "stripe";
  return new Problem(422, { code, ...(message && { detail: message }) });
}

/** The shop's present colours. */
function appearance() {
  const style = getComputedStyle(document.documentElement);
  const token = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    theme: document.documentElement.classList.contains("dark") ? "night" : "stripe",
    variables: {
      colorPrimary: token("accent"),
      colorBackground: token("card"),
      colorText: token("ink"),
      colorTextSecondary: token("soft"),
      colorDanger: token("danger"),
      borderRadius: token("radius-control"),
      fontFamily: "system-ui, sans-serif",
    },
  };
}
