// Stripe's Payment Element. The card goes from it to Stripe; we get the name of a payment method.
import { useEffect, useImperativeHandle, useRef, useState } from "react";

import { Problem } from "./api.js";
import { Failed } from "./states.jsx";
import { loadStripe } from "./stripe.js";

/** `ref` gives the way to the payment method; it raises a Problem with Stripe's words. */
export function StripeCard({ ref, order, publishableKey, disabled }) {
  const place = useRef(null);
  const stripe = useRef(null);
  const [state, setState] = useState("loading");
  const [tries, setTries] = useState(0);
  const { total, currency } = order;

  useEffect(() => {
    let wanted = true;
    loadStripe(publishableKey).then(
      (api) => {
        if (!wanted) return;
        const elements = api.elements({
          mode: "payment",
          amount: total,
          currency: currency.toLowerCase(),
          captureMethod: "manual",
          paymentMethodCreation: "manual",
          paymentMethodTypes: ["card"],
          appearance: appearance(),
        });
        const element = elements.create("payment");
        element.on("ready", () => setState("ready"));
        element.mount(place.current);
        stripe.current = { api, elements, element };
      },
      () => wanted && setState("failed"),
    );
    return () => {
      wanted = false;
      stripe.current?.element.destroy();
      stripe.current = null;
    };
  }, [publishableKey, total, currency, tries]);

  useEffect(() => void stripe.current?.element.update({ readOnly: disabled }), [disabled]);
  useImperativeHandle(ref, () => () => methodOf(stripe.current), []);

  const again = () => {
    setState("loading");
    setTries(tries + 1);
  };
  if (state === "failed") return <Failed problem={new Problem(0)} again={again} />;
  return (
    <fieldset className="stripe-card">
      <legend className="section-title">How would you like to pay?</legend>
      {state === "loading" && <div className="skeleton stripe-card-waiting" aria-busy="true" />}
      <div ref={place} />
    </fieldset>
  );
}

async function methodOf(stripe) {
  if (!stripe) throw new Problem(0);
  const checked = await stripe.elements.submit();
  if (checked.error) throw refused(checked.error);
  const made = await stripe.api.createPaymentMethod({ elements: stripe.elements });
  if (made.error) throw refused(made.error);
  return made.paymentMethod.id;
}

/** What Stripe says at the field itself needs no saying again. */
function refused(error) {
  return new Problem(422, { code: error.type === "validation_error" ? "said_at_field" : "stripe", detail: error.message });
}

/** The shop's colours, as they are now. */
function appearance() {
  const style = getComputedStyle(document.documentElement);
  const token = (name) => style.getPropertyValue(`--${name}`).trim();
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
