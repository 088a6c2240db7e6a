// Short notices. They are said to screen readers as well, politely.
import { Observable, useValue } from "./observable.js";

const SHOWN_MS = 6000;
const MOST = 3;

const toasts = new Observable([]);
let last = 0;

export function toast(words) {
  const id = (last += 1);
  toasts.set([...toasts.value, { id, words }].slice(-MOST));
  setTimeout(() => toasts.set(toasts.value.filter((each) => each.id !== id)), SHOWN_MS);
}

export function Toasts() {
  return (
    <div className="toasts" role="status" aria-live="polite">
      {useValue(toasts).map(({ id, words }) => (
        <p className="toast" key={id}>
          {words}
        </p>
      ))}
    </div>
  );
}
