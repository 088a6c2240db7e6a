// The test cards of the Stripe sandbox, to choose from.
import { type RefObject, useImperativeHandle, useState } from "react";

import type { CardInput } from "./card-input";

const ALWAYS_PAYS = "pm_card_visa";
const CARDS: [paymentMethod: string, digits: string, behaviour: string][] = [
  [ALWAYS_PAYS, "4242", "always pays"],
  ["pm_card_authenticationRequired", "3184", "asks for 3-D Secure"],
  ["pm_card_visa_chargeDeclined", "0002", "is declined"],
  ["pm_card_visa_chargeDeclinedInsufficientFunds", "9995", "has not enough money"],
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
      <legend className="section-title">How would you like to pay?</legend>
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
              <b>Visa •••• {digits}</b>
              <span className="note">Test card: {behaviour}</span>
            </span>
          </label>
        ))}
      </div>
      <p className="note">A sandbox: no money moves.</p>
    </fieldset>
  );
}
