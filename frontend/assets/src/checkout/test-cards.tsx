// The test cards of the Stripe sandbox, to choose from.
import { type RefObject, useImperativeHandle, useState } from "react";

import { text, type TextId } from "../shared/texts";
import type { CardInput } from "./card-input";

const ALWAYS_PAYS = "pm_card_visa";
const CARDS: [paymentMethod: string, digits: string, behaviour: TextId][] = [
  [ALWAYS_PAYS, "4242", "checkout.card_4242"],
  ["pm_card_authenticationRequired", "3184", "checkout.card_3184"],
  ["pm_card_visa_chargeDeclined", "0002", "checkout.card_0002"],
  ["pm_card_visa_chargeDeclinedInsufficientFunds", "9995", "checkout.card_9995"],
];

interface TestCardsProps {
  ref: RefObject<CardInput | null>;
  disabled: boolean;
}

export function TestCards({ ref, disabled }: TestCardsProps) {
  const [chosen, setChosen] = useState(ALWAYS_PAYS);
  useImperativeHandle(ref, () => ({ paymentMethod: () => Promise.resolve(chosen) }), [chosen]);
  return (
    <fieldset className="test-cards" disabled={disabled}>
      <legend className="section-title">{text("checkout.choose_card")}</legend>
      <div className="card">
        {CARDS.map(([method, digits, behaviour]) => (
          <label className="test-card" key={method}>
            <input
              type="radio"
              name="card"
              value={method}
              checked={chosen === method}
              onChange={() => {
                setChosen(method);
              }}
            />
            <span>
              <b>{text("checkout.card_digits", { digits })}</b>
              <span className="note">
                {text("checkout.card_test", { behaviour: text(behaviour) })}
              </span>
            </span>
          </label>
        ))}
      </div>
      <p className="note">{text("checkout.sandbox")}</p>
    </fieldset>
  );
}
