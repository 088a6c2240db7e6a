// The bank asks whether it is really you (3-D Secure). Its answer reaches us by Stripe, never by this page.
import { useCallback, useEffect, useRef, useState } from "react";

import { loadStripe } from "./stripe.js";
import { toast } from "./toasts.jsx";

export function Challenge({ payment, feed, facts }) {
  const { publishable_key: key, sandbox_url: sandbox } = facts.stripe;
  const secret = payment.client_secret;
  // A message tells of the challenge, and only the API tells its secret.
  useEffect(() => {
    if (!secret) feed.again();
  }, [feed, secret]);
  if (!secret) return <div className="card skeleton challenge" aria-busy="true" />;
  return key ? <AskedByStripe secret={secret} feed={feed} publishableKey={key} /> : <AskedBySandbox secret={secret} feed={feed} url={sandbox} />;
}

/** The sandbox's own page, in a frame that may send a form and nothing else. */
function AskedBySandbox({ secret, feed, url }) {
  const pages = useRef(0);
  const loaded = () => {
    pages.current += 1;
    // The first page is the question; the next one comes when it was answered.
    if (pages.current > 1) feed.again();
  };
  const [intent] = secret.split("_secret_");
  return (
    <iframe
      className="card challenge"
      title="Your bank's question"
      src={`${url}/sandbox/3ds/${intent}`}
      sandbox="allow-forms"
      referrerPolicy="no-referrer"
      onLoad={loaded}
    />
  );
}

/** Stripe shows the bank's page in a window of its own: by itself where Pay was pressed, elsewhere when asked to. */
function AskedByStripe({ secret, feed, publishableKey }) {
  const [asking, setAsking] = useState(false);
  const ask = useCallback(async () => {
    setAsking(true);
    try {
      const stripe = await loadStripe(publishableKey);
      await stripe.handleNextAction({ clientSecret: secret });
    } catch {
      toast("Your bank's window could not be opened. Try again.");
    } finally {
      await feed.again();
      setAsking(false);
    }
  }, [secret, feed, publishableKey]);
  const asked = useRef(false);
  useEffect(() => {
    if (!feed.paidHere || asked.current) return;
    asked.current = true;
    ask();
  }, [feed, ask]);
  return (
    <div className="card state challenge">
      <p>Your bank wants to be sure that it is you.</p>
      <button type="button" className="button primary" onClick={ask} disabled={asking}>
        {asking ? "In your bank's window" : "Answer your bank"}
      </button>
    </div>
  );
}
