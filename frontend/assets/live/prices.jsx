// What tickets cost, as a form asks for it: price and face value of one currency.
import { Field } from "./account.jsx";
import { amountHint, CURRENCIES, minorUnits } from "./amounts.js";
import { Problem } from "./api.js";
import { useFacts } from "./facts.js";
import { money } from "./format.js";
import { reworded } from "./forms.jsx";
import { costOf } from "./tickets.js";

export function PriceFields({ field, values }) {
  const { currency } = values;
  const price = minorUnits(values.price, currency);
  const face = minorUnits(values.face_value, currency);
  const fee = useFacts()?.fee_percent;
  return (
    <>
      <div className="fields thirds">
        <Field {...field("price")} label="Price of one" inputMode="decimal" autoComplete="off" />
        <Field {...field("currency")} as="select" label="Currency">
          {CURRENCIES.map((code) => (
            <option key={code}>{code}</option>
          ))}
        </Field>
        <Field {...field("face_value")} label="Face value" placeholder="If you like" inputMode="decimal" autoComplete="off" />
      </div>
      <p className="note price-note" role="status">
        {price > face && <b className="is-held">{capWords(price, face)} </b>}
        {price && fee ? `With the service fee a buyer pays ${money(costOf([{ price }], fee).total, currency)}.` : "The face value is what is printed on the ticket."}
      </p>
    </>
  );
}

/** Minor units of what was typed, for the API to judge; the problem of each field that is no amount. */
export function amountsOf({ price, face_value, currency }) {
  const amounts = { price: minorUnits(price, currency), face_value: face_value.trim() ? minorUnits(face_value, currency) : null };
  const unread = Object.keys(amounts).filter((field) => amounts[field] === undefined);
  return { amounts, problems: Object.fromEntries(unread.map((field) => [field, amountHint(currency)])) };
}

/** Whatever `ask` does; bounds that it is refused for are said in the currency's own units. */
export async function pricesReworded(currency, ask) {
  try {
    return await ask();
  } catch (fault) {
    throw fault instanceof Problem ? reworded(fault, (error) => ({ field: fieldOf(error.field), message: inMoney(error.message, currency) })) : fault;
  }
}

function capWords(price, face) {
  return `That is ${Math.ceil((100 * (price - face)) / face)}% above the face value, which some venues and countries don't allow.`;
}

/** Of a list's item as of a single one. */
function fieldOf(path) {
  return path.replace(/^tickets\[[^\]]*\]\.?/, "");
}

function inMoney(message, currency) {
  const [, relation, bound] = message.match(/^Expected `int.*` ([<>]=) (\d+)/) ?? [];
  if (!bound) return message;
  return `${relation === ">=" ? "at least" : "at most"} ${money(Number(bound), currency)}`;
}
