// A form's field: a label with its input or select, a hint, and the API's error message.
import type { ChangeEvent, ComponentPropsWithRef, ReactNode } from "react";

import { sentence, shortened } from "../format";
import type { Problem } from "../http";

interface Common {
  name: string;
  id?: string;
  label: ReactNode;
  hint?: ReactNode;
  problem: Problem | null;
}

type InputProps = Common &
  Omit<ComponentPropsWithRef<"input">, keyof Common | "maxLength" | "onChange"> & {
    /** In characters, as the API counts them; the attribute `maxlength` would count UTF-16. */
    maxLength?: number;
    onChange?: (event: { target: { value: string } }) => void;
  };
type SelectProps = Common & Omit<ComponentPropsWithRef<"select">, keyof Common>;

export function InputField({
  label,
  hint,
  problem,
  id,
  maxLength,
  onChange,
  ...input
}: InputProps) {
  const field = fieldOf(input.name, id, hint, problem);
  const onInput = ({ target }: ChangeEvent<HTMLInputElement>) => {
    onChange?.({ target: { value: shortened(target.value, maxLength) } });
  };
  return (
    <Labelled {...field} label={label} hint={hint}>
      <input {...input} {...field.control} onChange={onChange && onInput} />
    </Labelled>
  );
}

export function SelectField({ label, hint, problem, id, ...select }: SelectProps) {
  const field = fieldOf(select.name, id, hint, problem);
  return (
    <Labelled {...field} label={label} hint={hint}>
      <select {...select} {...field.control} />
    </Labelled>
  );
}

function fieldOf(name: string, id: string = name, hint: ReactNode, problem: Problem | null) {
  const error = problem?.messageFor(name);
  const notes = [hint && `${id}-hint`, error && `${id}-problem`].filter(Boolean).join(" ");
  return {
    error,
    control: {
      id,
      "aria-invalid": Boolean(error),
      "aria-describedby": notes || undefined,
    },
  };
}

interface LabelledProps extends Pick<Common, "label" | "hint"> {
  control: { id: string };
  error: string | undefined;
  children: ReactNode;
}

function Labelled({ label, hint, control: { id }, error, children }: LabelledProps) {
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children}
      {hint && (
        <span className="note" id={`${id}-hint`}>
          {hint}
        </span>
      )}
      {error && (
        <span className="problem" id={`${id}-problem`}>
          {sentence(error)}
        </span>
      )}
    </div>
  );
}
