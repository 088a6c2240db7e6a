// A select in the form of a chip, for a filter.
import { useId } from "react";

export type Option = readonly [value: string, label: string];

interface SelectChipProps {
  label: string;
  /** The label of the empty value. */
  none: string;
  options: readonly Option[];
  value: string;
  /** The label of a value that is not among the options. */
  unknown?: string;
  onChange: (value: string) => void;
}

/** A value that is not among the options, from an old address, is added to them. */
export function SelectChip({ label, none, options, value, unknown, onChange }: SelectChipProps) {
  const id = useId();
  const known = value === "" || options.some(([offered]) => offered === value);
  const offered = known ? options : [[value, unknown ?? value] as const, ...options];
  return (
    <>
      <label className="unseen" htmlFor={id}>
        {label}
      </label>
      <select
        id={id}
        className={`chip ${value ? "chosen" : ""}`}
        value={value}
        onChange={(event) => {
          onChange(event.target.value);
        }}
      >
        <option value="">{none}</option>
        {offered.map(([each, words]) => (
          <option key={each} value={each}>
            {words}
          </option>
        ))}
      </select>
    </>
  );
}
