// Stripe's own script, which alone may see a card. Stripe requires that it is loaded from Stripe;
// it is loaded only where cards are taken.

const SOURCE = "https://js.stripe.com/v3/";

/** The part of Stripe.js that the shop uses. */
export interface Stripe {
  elements: (options: object) => StripeElements;
  createPaymentMethod: (options: {
    elements: StripeElements;
  }) => Promise<{ paymentMethod?: { id: string }; error?: StripeError }>;
  handleNextAction: (options: { clientSecret: string }) => Promise<unknown>;
}

export interface StripeElements {
  create: (type: "payment") => StripeElement;
  submit: () => Promise<{ error?: StripeError }>;
}

export interface StripeElement {
  on: (event: "ready", listener: () => void) => void;
  mount: (element: HTMLElement) => void;
  update: (options: { readOnly: boolean }) => void;
  destroy: () => void;
}

export interface StripeError {
  type: string;
  message?: string;
}

declare global {
  var Stripe: (publishableKey: string) => Stripe;
}

let loading: Promise<Stripe> | null = null;

/** Throws a Problem without status when the script cannot be loaded; the next call tries again. */
export function loadStripe(publishableKey: string): Promise<Stripe> {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = SOURCE;
    script.onload = () => {
      resolve(globalThis.Stripe(publishableKey));
    };
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Error("Stripe.js could not be loaded."));
    };
    document.head.append(script);
  });
  return loading;
}
