// The price and the face value of a ticket in one currency.
import type { FieldError } from "../shared/api-types";
import { amountHint, amountObstacle, minorUnits, priceObstacle } from "../shared/amounts";
import { CURRENCIES } from "../shared/currencies";
import { type FieldMessages, type FieldProps, reword } from "../shared/form";
import { money } from "../shared/format";
import { Problem } from "../shared/http";
import { useSiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import { costOf } from "../shared/tickets";
import { InputField, SelectField } from "../shared/ui/field";

/** As they are typed. */
export interface PriceValues {
  price: string;
  currency: string;
  face_value: string;
}

interface PriceFieldsProps {
  field: (name: keyof PriceValues) => FieldProps;
  values: PriceValues;
}

export function PriceFields({ field, values }: PriceFieldsProps) {
  return (
    <>
      <div className="fields thirds">
        <InputField
          {...field("price")}
          label={text("sell.price")}
          inputMode="decimal"
          autoComplete="off"
        />
        <SelectField {...field("currency")} label={text("sell.currency")}>
          {CURRENCIES.map((code) => (
            <option key={code}>{code}</option>
          ))}
        </SelectField>
        <InputField
          {...field("face_value")}
          label={text("sell.face_value")}
          placeholder={text("sell.optional")}
          inputMode="decimal"
          autoComplete="off"
        />
      </div>
      <PriceNote values={values} />
    </>
  );
}

function PriceNote({ values: { price, face_value, currency } }: { values: PriceValues }) {
  const amount = minorUnits(price, currency);
  const face = minorUnits(face_value, currency);
  const config = useSiteConfig();
  const fee = config?.fee_percent;
  const obstacle = amount === undefined ? undefined : priceObstacle(amount, currency);
  if (obstacle !== undefined) {
    return (
      <p className="note price-note is-held" role="status">
        {obstacle}
      </p>
    );
  }
  return (
    <p className="note price-note" role="status">
      {amount !== undefined && face !== undefined && amount > face && (
        <b className="is-held">{aboveFaceValueText(amount, face)} </b>
      )}
      {amount && fee
        ? text("sell.buyer_pays", { total: totalText(amount, fee, currency) })
        : text("sell.face_value_note")}
    </p>
  );
}

function totalText(price: number, fee: number, currency: string): string {
  return money(costOf([{ price }], fee, currency).total, currency);
}

function aboveFaceValueText(price: number, face: number): string {
  const percent = Math.ceil((100 * (price - face)) / face);
  return text("sell.above_face_value", { percent });
}

export interface Amounts {
  price: number;
  face_value: number | null;
}

/** The amounts in minor units, or the messages of the fields that hold no amount. */
export function amountsOf({ price, face_value, currency }: PriceValues): {
  amounts: Amounts;
  messages: FieldMessages;
} {
  const messages: FieldMessages = {};
  const read = (field: keyof Amounts, text: string): number => {
    const amount = minorUnits(text, currency);
    const obstacleOf = field === "price" ? priceObstacle : amountObstacle;
    const message = amount === undefined ? amountHint(currency) : obstacleOf(amount, currency);
    if (message !== undefined) messages[field] = message;
    return amount ?? 0;
  };
  const amounts = {
    price: read("price", price),
    face_value: face_value.trim() ? read("face_value", face_value) : null,
  };
  return { amounts, messages };
}

/**
 * The result of `request`. A Problem is thrown again with messages for the fields of the form: the
 * bound of an amount in the currency's own units, and a taken seat at the field `seatField`.
 */
export async function withTicketMessages<T>(
  currency: string,
  seatField: "seat" | "seats",
  request: () => Promise<T>,
): Promise<T> {
  try {
    return await request();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code === "seat_taken") {
      throw reword(error, () => ({ field: seatField, message: error.message }));
    }
    throw reword(error, (rejected) => ({
      ...rejected,
      field: fieldOfTicket(rejected.field),
      message: boundInMoney(rejected, currency) ?? rejected.message,
    }));
  }
}

/** "price" of "tickets[3].price": a list has one form for all its tickets. */
function fieldOfTicket(path: string): string {
  return path.replace(/^tickets\[[^\]]*\]\.?/, "");
}

function boundInMoney(rejected: FieldError, currency: string): string | undefined {
  const { minimum, maximum, step } = rejected;
  if (typeof minimum === "number") {
    return text("sell.at_least", { amount: money(minimum, currency) });
  }
  if (typeof maximum === "number") {
    return text("sell.at_most", { amount: money(maximum, currency) });
  }
  if (typeof step === "number") {
    return text("sell.in_steps", { amount: money(step, currency) });
  }
  return undefined;
}
