// Lark of a user's own, before llguidance reads it: without what reaches beyond the text of an answer.

import { JambaError } from "@jamba/core";

interface Token {
  readonly kind: "space" | "text" | "json" | "special" | "reference" | "name" | "number" | "sign";
  readonly text: string;
  readonly line: number;
  /** What follows `%json`, `%regex` and `%llguidance`. */
  readonly value?: unknown;
}

export interface LarkOptions {
  /** Prepares a schema that stands behind `%json`, which is refused without. @param name of the schema, for errors */
  readonly json?: (schema: unknown, name: string) => unknown;
}

const maxLength = 1_000_000;
/** Of `%llguidance`: how spaces are left out, and that nothing is forced. */
const knownOptions = ["ignore_once", "allow_initial_skip", "no_forcing"];
/** Longer ones say more than anyone reads. */
const maxQuoted = 80;
/** Of values behind `%json` and the like. */
const maxDepth = 64;
/**
 * Tokens end where those of llguidance's reader (lark/lexer.rs) end: were one longer here, what it hides would be read there. For the same
 * reason nothing else is a token: a lone `/` would begin a regular expression that ends behind the grammar.
 */
const kinds = new RegExp(
  [
    /(?<space>[ \t\r\n]+|(?:#|\/\/)[^\n]*)/,
    /(?<text>"(?:\\[^\n]|[^"\\\n])*"i?|\/(?:\\[^\n]|[^/\\])+\/[imslux]*)/,
    /(?<json>%(?:json|regex|llguidance))/,
    /(?<special><[^<>\s]+>)/,
    /(?<reference>@[\w-]+)/,
    /(?<name>!?[_?]?[a-z][_a-z0-9-]*|_?[A-Z][_A-Z0-9-]*)/,
    /(?<number>0[xX][0-9a-fA-F]+|[+-]?[0-9]+(?:\.(?!\.)[0-9]*)?(?:[eE][+-]?[0-9]+)?)/,
    /(?<sign>%(?:declare|ignore|import|override|lark|if)|->|\.\.|::|[:,.(){}[\]~|&=_+*?])/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "uy",
);

/**
 * @returns what is to be compiled: schemas are prepared, and what `~` leaves over is text
 * @throws JambaError OPTION, with its line, for control tokens, references to other grammars, temperatures and options that lift limits
 */
export function checkLark(grammar: string, { json }: LarkOptions = {}): string {
  if (grammar.length > maxLength) fail(1, `a grammar of at most ${maxLength} characters`, `one of ${grammar.length}`);
  const tokens = readTokens(grammar);
  checkBraces(tokens);
  const out: string[] = [];
  const terminals: string[] = [];
  const isNested = hasNested(tokens);
  const names = new Set(tokens.map(({ text }) => text));
  const textOf = (token: Token) => (token.kind === "json" ? `${token.text} ${JSON.stringify(preparedValue(token, json))}` : token.text);
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at];
    checkToken(token, tokens, at);
    const from = skipSpace(tokens, at + 1);
    if (token.text !== "~" || tokens[from]?.kind === "number") {
      out.push(textOf(token));
      continue;
    }
    // Bytes that are no text are also not what follows ~. So it stands in a terminal of its own, within all texts.
    if (isNested) fail(token.line, "~ outside of %lark", "a grammar with both");
    const inner = tokens.slice(from, endOfAtom(tokens, from));
    inner.forEach((one, i) => {
      checkToken(one, inner, i);
      if (one.text === "~") fail(one.line, "~ before what holds no other ~", "one within another");
    });
    let name = `NOT_${terminals.length}`;
    while (names.has(name)) name += "_";
    terminals.push(`${name}: ~${inner.map(textOf).join("")} & /(?s:.*)/`);
    out.push(name);
    at = from + inner.length - 1;
  }
  return `${out.join("")}\n${terminals.map((line) => `${line}\n`).join("")}`;
}

function fail(line: number, expected: string, found: string): never {
  throw new JambaError("OPTION", `format.grammar, line ${line}: expected ${expected}, found ${found}`);
}

const shortened = (text: string) => (text.length > maxQuoted ? `${text.slice(0, maxQuoted)}…` : text);
const quoted = (text: string) => JSON.stringify(text.slice(0, 12));

/** It stands between braces of a larger grammar, and must not close them. */
function checkBraces(tokens: readonly Token[]): void {
  let depth = 0;
  for (const { text, line } of tokens) {
    if (text === "{") depth++;
    if (text === "}" && --depth < 0) fail(line, "a { for each }", "one } too many");
  }
  if (depth > 0) fail(tokens.at(-1)!.line, "a } for each {", "the end");
}

function readTokens(grammar: string): Token[] {
  const tokens: Token[] = [];
  let [at, line] = [0, 1];
  while (at < grammar.length) {
    kinds.lastIndex = at;
    const found = kinds.exec(grammar);
    if (!found) fail(line, "a token of Lark", quoted(grammar.slice(at)));
    const { 0: text, groups } = found;
    const kind = Object.entries(groups!).find(([, found]) => found !== undefined)![0] as Token["kind"];
    at += text.length;
    let value: unknown;
    let length = 0;
    if (kind === "json") {
      [value, length] = readJson(grammar, at, line, text);
      at += length;
    }
    tokens.push({ kind, text, line, value });
    for (const char of grammar.slice(at - text.length - length, at)) if (char === "\n") line++;
  }
  return tokens;
}

/** The first value in a text, and its length. */
function readJson(text: string, from: number, line: number, directive: string): [value: unknown, length: number] {
  let at = from;
  while (/\s/.test(text[at] ?? "")) at++;
  const part = /"(?:\\.|[^"\\])*"|[{}[\]]|[^\s{}[\]"]+|\s+/uy;
  for (let depth = 0, start = at; at < text.length; ) {
    part.lastIndex = at;
    const [found] = part.exec(text) ?? [];
    if (found === undefined) break;
    at += found.length;
    if (found === "{" || found === "[") depth++;
    if (found === "}" || found === "]") depth--;
    if (depth > maxDepth) return fail(line, `JSON of at most ${maxDepth} levels after ${directive}`, "more");
    if (depth > 0) continue;
    try {
      return [JSON.parse(text.slice(start, at)), at - from];
    } catch {
      break;
    }
  }
  return fail(line, `JSON after ${directive}`, quoted(text.slice(from)));
}

function checkToken({ kind, text, line, value }: Token, tokens: readonly Token[], at: number): void {
  if (kind === "special") fail(line, "rules for texts", `the control token ${shortened(text)}`);
  if (kind === "reference") fail(line, "rules of this grammar", `${shortened(text)}, a reference to another`);
  if (text === "temperature" && tokens[skipSpace(tokens, at + 1)]?.text === "=")
    fail(line, "a temperature of the whole answer", "one of a rule");
  if (text !== "%llguidance") return;
  const options: [string, unknown][] = typeof value === "object" && value !== null ? Object.entries(value) : [["", value]];
  for (const [key, setting] of options)
    if (!knownOptions.includes(key) || typeof setting !== "boolean")
      fail(
        line,
        `%llguidance with ${knownOptions.join(", ")}, each true or false`,
        shortened(`${key || "a value"}: ${JSON.stringify(setting)}`),
      );
}

function preparedValue({ text, value, line }: Token, json: LarkOptions["json"]): unknown {
  if (text !== "%json") return value;
  return json
    ? json(value, `format.grammar, line ${line}`)
    : fail(line, "rules for texts", "%json; give the schema as a format of its own");
}

function hasNested(tokens: readonly Token[]): boolean {
  return tokens.some(({ text }) => text === "%lark");
}

function skipSpace(tokens: readonly Token[], at: number): number {
  let next = at;
  while (tokens[next]?.kind === "space") next++;
  return next;
}

/** Behind a text, a range of characters, a name or a group. */
function endOfAtom(tokens: readonly Token[], from: number): number {
  let depth = 0;
  for (let at = from; at < tokens.length; at++) {
    const { text } = tokens[at];
    if (text === "(" || text === "[") depth++;
    if (text === ")" || text === "]") depth--;
    if (depth > 0) continue;
    const next = skipSpace(tokens, at + 1);
    return tokens[next]?.text === ".." ? skipSpace(tokens, next + 1) + 1 : at + 1;
  }
  return tokens.length;
}
