// 3-D Secure: the bank asks the buyer to confirm the payment. The bank's answer reaches the shop
// by Stripe's webhook, never by this page.
import { useCallback, useEffect, useRef, useState } from "react";

import type { PaymentRow } from "../shared/push-messages";
import type { SiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import { toast } from "../shared/ui/toasts";
import type { CheckoutFeed } from "./checkout-feed";
import { loadStripe } from "./stripe";

interface ThreeDSecureProps {
  payment: PaymentRow;
  feed: CheckoutFeed;
  config: SiteConfig;
}

export function ThreeDSecure({ payment, feed, config }: ThreeDSecureProps) {
  const { publishable_key: key, sandbox_url: sandbox } = config.stripe;
  const secret = payment.client_secret;
  // A message announces the challenge without its secret, which only the API returns.
  useEffect(() => {
    if (!secret) void feed.refresh();
  }, [feed, secret]);
  if (!secret) return <div className="card skeleton challenge" aria-busy="true" />;
  if (key) return <StripeChallenge secret={secret} feed={feed} publishableKey={key} />;
  return <SandboxChallenge secret={secret} feed={feed} url={sandbox} />;
}

interface SandboxChallengeProps {
  secret: string;
  feed: CheckoutFeed;
  url: string;
}

/** The sandbox's page, in a frame that may submit a form and nothing else. */
function SandboxChallenge({ secret, feed, url }: SandboxChallengeProps) {
  const loads = useRef(0);
  const onLoad = () => {
    loads.current += 1;
    // The first page is the question; the next one comes after the answer.
    if (loads.current > 1) void feed.refresh();
  };
  const [intent = ""] = secret.split("_secret_");
  return (
    <iframe
      className="card challenge"
      title={text("checkout.bank_frame")}
      src={`${url}/sandbox/3ds/${intent}`}
      sandbox="allow-forms"
      referrerPolicy="no-referrer"
      onLoad={onLoad}
    />
  );
}

interface StripeChallengeProps {
  secret: string;
  feed: CheckoutFeed;
  publishableKey: string;
}

/**
 * Stripe opens the bank's page: at once where the buyer pressed Pay, in other tabs by a button.
 */
function StripeChallenge({ secret, feed, publishableKey }: StripeChallengeProps) {
  const [open, setOpen] = useState(false);
  const openChallenge = useCallback(async () => {
    setOpen(true);
    try {
      const stripe = await loadStripe(publishableKey);
      await stripe.handleNextAction({ clientSecret: secret });
    } catch {
      toast(text("checkout.bank_not_opened"));
    } finally {
      await feed.refresh();
      setOpen(false);
    }
  }, [secret, feed, publishableKey]);
  const opened = useRef(false);
  useEffect(() => {
    if (!feed.paidHere || opened.current) return;
    opened.current = true;
    void openChallenge();
  }, [feed, openChallenge]);
  return (
    <div className="card state challenge">
      <p>{text("checkout.bank_sure")}</p>
      <button type="button" className="button primary" onClick={openChallenge} disabled={open}>
        {open ? text("checkout.bank_open") : text("checkout.bank_answer")}
      </button>
    </div>
  );
}
