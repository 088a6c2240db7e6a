// Compares the calls of text() and richText() in all sources with the message files. tsc has
// verified that each text exists.
/// <reference types="vite/client" />
import { IntlMessageFormat } from "intl-messageformat";
import {
  isLiteralElement,
  isPluralElement,
  isPoundElement,
  isSelectElement,
  isTagElement,
} from "@formatjs/icu-messageformat-parser";
import ts from "typescript";
import { describe, expect, test } from "vitest";

// Python composes the texts of pages.json: tests/shop/test_texts.py.
const FILES = import.meta.glob<Record<string, string>>(
  ["../assets/src/texts/en/*.json", "!**/pages.json"],
  { eager: true, import: "default" },
);
const SOURCES = import.meta.glob<string>(
  ["../assets/src/**/*.ts", "../assets/src/**/*.tsx", "!**/api-types.ts"],
  { eager: true, import: "default", query: "?raw" },
);

const texts = new Map<string, string>(
  Object.entries(FILES).flatMap(([path, content]) => {
    const file = path.replace(/.*\/|\.json$/g, "");
    return Object.entries(content).map(([name, words]) => [`${file}.${name}`, words] as const);
  }),
);

type Element = ReturnType<IntlMessageFormat["getAst"]>[number];

/** The names of the values and tags in a text. Its literal parts have no name. */
function namesIn(elements: readonly Element[]): string[] {
  return elements.flatMap((element) => {
    if (isLiteralElement(element) || isPoundElement(element)) return [];
    if (isTagElement(element)) return [element.value, ...namesIn(element.children)];
    if (!isPluralElement(element) && !isSelectElement(element)) return [element.value];
    const choices = Object.values(element.options).flatMap(({ value }) => namesIn(value));
    return [element.value, ...choices];
  });
}

function valuesOf(words: string): string[] {
  return [...new Set(namesIn(new IntlMessageFormat(words, "en").getAst()))].sort();
}

interface Call {
  id: string;
  /** Undefined for values that are no object literal. */
  values: string[] | undefined;
}

function read(): { calls: Call[]; literals: Set<string> } {
  const calls: Call[] = [];
  const literals = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteral(node)) literals.add(node.text);
    if (ts.isCallExpression(node) && /^(rich)?text$/i.test(node.expression.getText())) {
      const [id, values] = node.arguments;
      const literal = values && ts.isObjectLiteralExpression(values) ? values : undefined;
      const names = literal?.properties.map((property) => property.name?.getText() ?? "...");
      if (id && ts.isStringLiteral(id)) {
        calls.push({ id: id.text, values: values ? names?.sort() : [] });
      }
    }
    node.forEachChild(visit);
  };
  for (const [path, source] of Object.entries(SOURCES)) {
    visit(ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true));
  }
  return { calls, literals };
}

const { calls, literals } = read();

describe("the texts of the pages", () => {
  test("are given the values that they have", () => {
    const wrong = calls.filter(
      ({ id, values }) => values && String(values) !== String(valuesOf(texts.get(id) ?? "")),
    );
    expect(calls.length).toBeGreaterThan(0);
    expect(wrong).toEqual([]);
  });

  test("are all used", () => {
    expect([...texts.keys()].filter((id) => !literals.has(id))).toEqual([]);
  });

  test("are sorted by their names", () => {
    const names: string[] = [...texts.keys()];
    expect(names).toEqual([...names].sort());
  });
});
