import jsxA11y from "eslint-plugin-jsx-a11y";
import reactHooks from "eslint-plugin-react-hooks";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

// Texts are in message files: a sentence in a source would not be translated.
const WITH_TEXTS = ["assets/src/**"];
const WORDS = "/\\p{L}{2}/u";
const SENTENCE = "/^\\p{Lu}\\p{Ll}*['’]?\\p{Ll}* \\p{L}/u";
const LABELS = "/^(alt|aria-label|hint|label|legend|none|placeholder|title|words)$/";
const message = "Put this text into a file of texts/en, and name it by text() or richText().";
const CHOICE = ":matches(ConditionalExpression, LogicalExpression)";
const CONTENT = "JSXElement > JSXExpressionContainer";
const RAW_TEXTS = [
  `JSXText[value=${WORDS}]`,
  `${CONTENT} > Literal[value=${WORDS}]`,
  `${CONTENT} > TemplateLiteral > TemplateElement[value.raw=${WORDS}]`,
  `${CONTENT} > ${CHOICE} > TemplateLiteral > TemplateElement[value.raw=${WORDS}]`,
  `JSXAttribute[name.name=${LABELS}] > Literal[value=${WORDS}]`,
  `JSXAttribute[name.name=${LABELS}] > JSXExpressionContainer > Literal[value=${WORDS}]`,
  `JSXAttribute[name.name=${LABELS}] ConditionalExpression > Literal[value=${WORDS}]`,
  `${CONTENT} > ${CHOICE} > Literal[value=${WORDS}]`,
  `JSXAttribute[name.name=${LABELS}] TemplateElement[value.raw=${WORDS}]`,
  // The message of an Error is for the console.
  `:not(NewExpression) > Literal[value=${SENTENCE}]`,
  `:not(NewExpression) > TemplateLiteral > TemplateElement[value.raw=${SENTENCE}]`,
].map((selector) => ({ selector, message }));

export default defineConfig(
  globalIgnores(["**/api-types.ts", "eslint.config.js"]),
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  reactHooks.configs.flat["recommended-latest"],
  jsxA11y.flatConfigs.recommended,
  {
    languageOptions: { parserOptions: { projectService: true } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "react-hooks/exhaustive-deps": "error",
      "react-hooks/incompatible-library": "error",
      "react-hooks/unsupported-syntax": "error",
      // React ignores the promise of an event handler; each handler catches its own errors.
      "@typescript-eslint/no-misused-promises": [
        "error",
        { checksVoidReturn: { attributes: false } },
      ],
      // The text of a label may be in a <b> of a <span>.
      "jsx-a11y/label-has-associated-control": ["error", { depth: 3 }],
      // An empty string is a missing value throughout the API.
      "@typescript-eslint/prefer-nullish-coalescing": [
        "error",
        { ignorePrimitives: { string: true } },
      ],
      // A number reads well in a template.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
    },
  },
  { files: WITH_TEXTS, rules: { "no-restricted-syntax": ["error", ...RAW_TEXTS] } },
);
