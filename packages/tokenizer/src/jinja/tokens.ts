// What Jinja2 has and the parser does not know, said in tokens that it knows.

import type { tokenize } from "@huggingface/jinja";
import { fail } from "./values.ts";

type Token = Pick<ReturnType<typeof tokenize>[number], "type" | "value">;

/** What a tuple of one item or none is written as: a call that no template can write. */
export const tupleName = "(tuple)";

/** A filter that does nothing: it keeps a comparison in parentheses from being part of a chain of them. */
export const groupName = "(group)";

/** Python has 200 too. */
const deepest = 200;

/** @throws Error for brackets within brackets that go too deep */
export function mendTokens(tokens: readonly Token[]): Token[] {
  let depth = 0;
  for (const { type } of tokens) {
    if (Object.hasOwn(closing, type) && ++depth > deepest) fail(`expected at most ${deepest} brackets within each other, found more`);
    if (Object.values(closing).includes(type)) depth--;
  }
  return withTests(withGroups(withExponents(tokens.map(mendSign))));
}

/** Behind a dict a sign is an operator: `{} + x`. */
function mendSign(token: Token, i: number, all: readonly Token[]): Token {
  const isOperator = token.type === "UnaryOperator" && all[i - 1]?.type === "CloseCurlyBracket";
  return isOperator ? { type: "AdditiveBinaryOperator", value: token.value } : token;
}

/** `1e3` and `1e-3` are numbers. */
function withExponents(tokens: readonly Token[]): Token[] {
  const made: Token[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const [number, letter, sign, digits] = tokens.slice(i, i + 4);
    const whole = number.type === "NumericLiteral" && letter?.type === "Identifier" ? /^e(\d*)$/i.exec(letter.value) : undefined;
    const isSigned = whole?.[1] === "" && digits?.type === "NumericLiteral" && ["+", "-"].includes(sign.value);
    if (!whole || (whole[1] === "" && !isSigned)) {
      made.push(number);
      continue;
    }
    // With a point it is a float to the parser.
    const digitsBefore = number.value.includes(".") ? number.value : `${number.value}.0`;
    made.push({ type: "NumericLiteral", value: `${digitsBefore}e${isSigned ? sign.value + digits.value : whole[1]}` });
    i += isSigned ? 3 : 1;
  }
  return made;
}

/** `()` and `(1,)`, and `(a == b) != (c == d)`. */
function withGroups(tokens: readonly Token[]): Token[] {
  const made: Token[] = [];
  const opened: { readonly at: number; readonly isCall: boolean; hasComma: boolean; compares: boolean }[] = [];
  for (const [i, token] of tokens.entries()) {
    const within = opened.at(-1);
    if (Object.hasOwn(closing, token.type)) {
      const isCall = token.type !== "OpenParen" || isCallee(tokens[i - 1]);
      opened.push({ at: made.length, isCall, hasComma: false, compares: false });
    } else if (within && token.type === "Comma") within.hasComma = true;
    else if (within && (token.type === "ComparisonBinaryOperator" || (token.type === "Identifier" && token.value === "in")))
      within.compares = true;
    const before = made.at(-1);
    made.push(token);
    if (!Object.values(closing).includes(token.type)) continue;
    const group = opened.pop();
    if (!group || group.isCall) continue;
    if (before?.type === "Comma" || before?.type === "OpenParen") {
      if (before.type === "Comma") made.splice(-2, 1);
      made.splice(group.at, 0, { type: "Identifier", value: tupleName });
    } else if (group.compares && !group.hasComma && !["Dot", "OpenSquareBracket", "OpenParen"].includes(tokens[i + 1]?.type))
      made.push({ type: "Pipe", value: "|" }, { type: "Identifier", value: groupName });
  }
  return made;
}

/** Whether parentheses behind it are those of a call. */
function isCallee(token: Token | undefined): boolean {
  if (token?.type === "Identifier") return !operators.includes(token.value);
  return token?.type === "CloseParen" || token?.type === "CloseSquareBracket";
}

/** Tests become filters of the name `is defined`, which may have arguments (`is divisibleby 3`) and filters behind them. */
function withTests(tokens: readonly Token[]): Token[] {
  const made: Token[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const isNegated = tokens[i + 1]?.value === "not";
    const name = tokens[i + (isNegated ? 2 : 1)];
    if (tokens[i].type !== "Identifier" || tokens[i].value !== "is" || name?.type !== "Identifier") {
      made.push(tokens[i]);
      continue;
    }
    const from = i + (isNegated ? 3 : 2);
    const end = endOfArgument(tokens, from) ?? from;
    const argument = withTests(tokens.slice(from, end));
    made.push({ type: "Pipe", value: "|" }, { type: "Identifier", value: `is ${isNegated ? "not " : ""}${name.value}` });
    if (argument.length > 0 && argument[0].type !== "OpenParen")
      made.push({ type: "OpenParen", value: "(" }, ...argument, { type: "CloseParen", value: ")" });
    else made.push(...argument);
    i = end - 1;
  }
  return made;
}

const closing: Readonly<Record<string, string>> = {
  OpenParen: "CloseParen",
  OpenSquareBracket: "CloseSquareBracket",
  OpenCurlyBracket: "CloseCurlyBracket",
};
/** Words that go on with an expression rather than being an argument. */
const operators = ["and", "or", "not", "in", "is", "if", "else"];

/** Where the argument of a test ends; undefined where it has none. */
function endOfArgument(tokens: readonly Token[], from: number): number | undefined {
  const { type, value } = tokens[from] ?? {};
  const isValue = type === "StringLiteral" || type === "NumericLiteral" || (type === "Identifier" && !operators.includes(value));
  if (!isValue && !Object.hasOwn(closing, type)) return undefined;
  let at = isValue ? from + 1 : endOfGroup(tokens, from);
  // What is in parentheses are all arguments; anything else may go on.
  while (type !== "OpenParen") {
    if (tokens[at]?.type === "Dot") at += 2;
    else if (Object.hasOwn(closing, tokens[at]?.type ?? "") && tokens[at].type !== "OpenCurlyBracket") at = endOfGroup(tokens, at);
    else break;
  }
  return at;
}

function endOfGroup(tokens: readonly Token[], from: number): number {
  let depth = 0;
  for (let i = from; i < tokens.length; i++) {
    if (Object.hasOwn(closing, tokens[i].type)) depth++;
    else if (Object.values(closing).includes(tokens[i].type) && --depth === 0) return i + 1;
  }
  return tokens.length;
}
