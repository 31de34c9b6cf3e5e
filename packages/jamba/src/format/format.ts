// What an answer may be asked to look like.

import type { SchemaOf } from "./standard-schema.ts";

/**
 * What the whole answer must be.
 * - `json`: a JSON value that satisfies `schema`, or any object or array; on one line. With `strict: true` the answer satisfies all of the
 *   schema, and one with a keyword that can't be enforced is refused. Otherwise such keywords are left out, `Result.notEnforced` names them,
 *   and an object that lists properties and does not speak of others has no others. See `prepareSchema` of @jamba/grammar.
 * - `regex`: a text that `pattern`, with the flag `u`, matches from its first character to its last.
 * - `grammar`: a text of this EBNF (GBNF's syntax, mostly) from its rule `root`, or with `syntax: "lark"` of this Lark from its rule `start`.
 */
export type Format<Parsed = unknown> =
  | { readonly type: "json"; readonly schema?: SchemaOf<Parsed>; readonly strict?: boolean }
  | { readonly type: "regex"; readonly pattern: string }
  | { readonly type: "grammar"; readonly grammar: string; readonly syntax?: "ebnf" | "lark" };

/**
 * "auto": text with or without calls. "none": no calls. "required": one or more calls. A name: exactly one call, of this tool.
 * `allowed`: of the tools that the model is shown it may call only these; `mode` says whether it must, "auto" if not given. Whichever it
 * is, a call names one of the tools and has arguments by its schema.
 */
export type ToolChoice =
  | "auto"
  | "none"
  | "required"
  | { readonly name: string }
  | { readonly type: "function"; readonly function: { readonly name: string } }
  | { readonly allowed: readonly string[]; readonly mode?: "auto" | "required" };

export type Form = "jamba" | "chatml";

export interface AnswerSpec {
  readonly format?: Format;
  /** As for the template: OpenAI's form, or the bare function. With `strict: true` parameters that can't be enforced are refused. */
  readonly tools?: readonly unknown[];
  readonly toolChoice?: ToolChoice;
  /** false: at most one call, which ends the answer. */
  readonly parallelToolCalls?: boolean;
  /** The prompt ends within `<think>`. */
  readonly thoughts?: boolean;
  /** How the model writes calls; "jamba" also begins answers with a space. None for a plain text. */
  readonly form?: Form;
}

/** The tags that a vocabulary may hold as single tokens. */
export const tags = ["<think>", "</think>", "<tool_calls>", "</tool_calls>", "<tool_call>", "</tool_call>"];

/** Whether an answer without calls is none. */
export function isForced(choice: ToolChoice): boolean {
  if (typeof choice !== "object") return choice === "required";
  return !("allowed" in choice) || choice.mode === "required";
}
