// A choice of one among several, as a chip.
import { useId } from "react";

/** `options` are [value, words]. What is chosen can be chosen, whether it is offered or not. */
export function Choice({ label, none, options, chosen, choose }) {
  const id = useId();
  const offered = chosen && !options.some(([value]) => String(value) === chosen) ? [[chosen, chosen], ...options] : options;
  return (
    <>
      <label className="unseen" htmlFor={id}>
        {label}
      </label>
      <select id={id} className={`chip ${chosen ? "chosen" : ""}`} value={chosen} onChange={(event) => choose(event.target.value)}>
        <option value="">{none}</option>
        {offered.map(([value, words]) => (
          <option key={value} value={value}>
            {words}
          </option>
        ))}
      </select>
    </>
  );
}
