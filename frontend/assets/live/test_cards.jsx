// The sandbox's cards, to pick from instead of typing one.
import { useImperativeHandle, useState } from "react";

const CARDS = [
  ["pm_card_visa", "4242", "always pays"],
  ["pm_card_authenticationRequired", "3184", "asks for 3-D Secure"],
  ["pm_card_visa_chargeDeclined", "0002", "is declined"],
  ["pm_card_visa_chargeDeclinedInsufficientFunds", "9995", "has not enough money"],
];

/** `ref` gives the way to the payment method. */
export function TestCards({ ref, disabled }) {
  const [chosen, setChosen] = useState(CARDS[0][0]);
  useImperativeHandle(ref, () => async () => chosen, [chosen]);
  return (
    <fieldset className="test-cards" disabled={disabled}>
      <legend className="section-title">How would you like to pay?</legend>
      <div className="card">
        {CARDS.map(([method, digits, does]) => (
          <label className="test-card" key={method}>
            <input type="radio" name="card" value={method} checked={chosen === method} onChange={() => setChosen(method)} />
            <span>
              <b>Visa •••• {digits}</b>
              <span className="note">Test card: {does}</span>
            </span>
          </label>
        ))}
      </div>
      <p className="note">A sandbox: no money moves.</p>
    </fieldset>
  );
}
