// Stripe's own script, which alone may see a card. It comes from Stripe, as Stripe asks, and only where cards are taken.
import { Problem } from "./api.js";

const SOURCE = "https://js.stripe.com/v3/";

let loading = null;

/** Stripe's object for this key. Raises a Problem without status when the script can't be had. */
export function loadStripe(publishableKey) {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = SOURCE;
    script.onload = () => resolve(globalThis.Stripe(publishableKey));
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Problem(0));
    };
    document.head.append(script);
  });
  return loading;
}
