// The texts of the pages, from `texts/<language>`: a file for each folder of sources, in ICU's
// MessageFormat, which has plurals and choices. Decision 34 has why it is this library.
//
// A text without values is returned as it is written. `text` and `richText` throw when a value is
// missing; tests/texts.test.ts compares the values of each call with those of its text.
import { IntlMessageFormat } from "intl-messageformat";
import { createElement, Fragment, type ReactNode } from "react";

import account from "../texts/en/account.json";
import browse from "../texts/en/browse.json";
import checkout from "../texts/en/checkout.json";
import desk from "../texts/en/desk.json";
import orders from "../texts/en/orders.json";
import sell from "../texts/en/sell.json";
import shared from "../texts/en/shared.json";
import show from "../texts/en/show.json";

const LANGUAGE = "en";
const FILES = { account, browse, checkout, desk, orders, sell, shared, show };

type File = keyof typeof FILES;
/** The name of a file and of a text in it: "shared.pay_now". */
export type TextId = { [F in File]: `${F}.${keyof (typeof FILES)[F] & string}` }[File];

type Values = Record<string, string | number>;
/** A value is what React renders, or the function that renders the content of a tag. */
type RichValues = Record<string, ReactNode | ((content: ReactNode[]) => ReactNode)>;

const formats = new Map<TextId, IntlMessageFormat>();

export function text(id: TextId, values?: Values): string {
  return values ? String(formatOf(id).format(values)) : sourceOf(id);
}

/** A text with elements in it: `<b>` in the text is the value `b`, a function. */
export function richText(id: TextId, values: RichValues): ReactNode {
  const parts = formatOf(id).format<ReactNode>(values as Record<string, ReactNode>);
  return createElement(Fragment, null, ...(Array.isArray(parts) ? parts : [parts]));
}

function formatOf(id: TextId): IntlMessageFormat {
  let format = formats.get(id);
  if (!format) {
    format = new IntlMessageFormat(sourceOf(id), LANGUAGE);
    formats.set(id, format);
  }
  return format;
}

function sourceOf(id: TextId): string {
  const [file = "", name = ""] = id.split(".");
  const source = (FILES as Record<string, Record<string, string>>)[file]?.[name];
  if (source === undefined) throw new Error(`There is no text ${id}.`);
  return source;
}
