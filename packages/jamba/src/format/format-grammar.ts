// What an answer may look like, as one of xgrammar's structural tags: thoughts, then text, calls or a format. It knows nothing of tokens.

import { JambaError } from "@jamba/core";
import type { StructuralTagFormat, TagFormat } from "@mlc-ai/web-xgrammar";
import { regexGrammar } from "./regex-grammar.ts";
import { anyJsonGrammar, schemaGrammar } from "./schema-grammar.ts";
import type { SchemaOf } from "./standard-schema.ts";

/**
 * What the whole answer must be.
 * - `json`: a JSON value that satisfies `schema`, or any object or array; on one line, see `schemaGrammar` for what is narrower. A keyword
 *   that can't be enforced is refused, unless `strict` is false: then it is left out, and `Result.notEnforced` names it. A schema of zod,
 *   valibot or another library is not strict unless that is asked for, since it judges the answer itself: `Result.parsed`, `parseIssues`.
 * - `regex`: a text that `pattern` matches from its first character to its last.
 * - `grammar`: a text of this EBNF (GBNF's syntax, mostly) from its rule `root`. A grammar is a program: one that is made to can take
 *   for ever to compile.
 */
export type Format<Parsed = unknown> =
  | { readonly type: "json"; readonly schema?: SchemaOf<Parsed>; readonly strict?: boolean }
  | { readonly type: "regex"; readonly pattern: string }
  | { readonly type: "grammar"; readonly grammar: string };

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

/** How each form writes calls, as the templates show them to the model. */
const callForms = {
  jamba: { tag: "<tool_calls>", open: "<tool_calls>[\n    ", between: ",\n    ", close: "\n]</tool_calls>" },
  chatml: { tag: "<tool_call>", open: "<tool_call>\n", between: "\n</tool_call>\n<tool_call>\n", close: "\n</tool_call>" },
};

/** The tags that a vocabulary may hold as single tokens. */
export const tags = ["<think>", "</think>", "<tool_calls>", "</tool_calls>", "<tool_call>", "</tool_call>"];

/**
 * What answers with these options are not bound to: keywords of schemas that are not strict, by their paths in the options, such as
 * `format.schema.properties.name.not` or `tools[0].function.parameters.if`.
 * @throws JambaError OPTION for a schema that is wrong, or strict with a keyword that can't be enforced
 */
export function unenforced({ format, tools, toolChoice }: Pick<AnswerSpec, "format" | "tools" | "toolChoice">): readonly string[] {
  const found = new Set<string>();
  if (format) formatGrammar(format, found);
  for (const tool of callable(tools, toolChoice)) parametersGrammar(tool, found);
  return [...found];
}

/**
 * @param spell how a text with tags is spelled in the vocabulary
 * @param found takes what `unenforced` gives
 * @returns undefined where everything is allowed
 * @throws JambaError OPTION for a schema, pattern or choice that is wrong
 */
export function answerGrammar(
  spec: AnswerSpec,
  spell: (text: string) => string,
  found = new Set<string>(),
): StructuralTagFormat | undefined {
  const { format, toolChoice = "auto", parallelToolCalls = true, thoughts = false, form } = spec;
  const tools = callable(spec.tools, toolChoice);
  if ((typeof toolChoice === "object" || toolChoice === "required") && tools.length === 0)
    throw new JambaError("OPTION", `toolChoice: expected tools to choose from, found none`);
  const isNamed = typeof toolChoice === "object" && !("allowed" in toolChoice);
  const formatted = format && grammar(formatGrammar(format, found));
  const calls = tools.map((tool) => callTag(tool, found));
  const rest = body(formatted, calls, isForced(toolChoice), { form, single: !parallelToolCalls || isNamed, spell });
  if (!rest) return undefined;
  const before: StructuralTagFormat[] = [];
  if (thoughts) {
    before.push({ type: "tag", begin: "", content: { type: "any_text" }, end: spell("</think>") });
    before.push(grammar('root ::= "\\n"{0,2}\n'));
  }
  // The template leaves it to the model to write the space before its answer.
  if (form === "jamba" && rest.type !== "triggered_tags") before.push(grammar('root ::= " "?\n'));
  return { type: "sequence", elements: [...before, rest] };
}

/** Of an answer that has begun, what the grammar binds: where calls are all that is asked for, words before them are free. */
export function boundPart(spec: AnswerSpec, prefix: string): { spec: AnswerSpec; prefix: string } {
  const { toolChoice, thoughts, form } = spec;
  if (!isForced(toolChoice ?? "auto")) return { spec, prefix };
  const from = thoughts ? prefix.indexOf("</think>") : 0;
  if (from < 0 || prefix === "") return { spec, prefix };
  const call = form ? prefix.indexOf(callForms[form].tag, from) : -1;
  return { spec: { ...spec, thoughts: false }, prefix: call < 0 ? "" : prefix.slice(call) };
}

interface CallStyle {
  readonly form: Form | undefined;
  /** At most one call. */
  readonly single: boolean;
  readonly spell: (text: string) => string;
}

function body(
  formatted: StructuralTagFormat | undefined,
  calls: readonly TagFormat[],
  forced: boolean,
  { form, single, spell }: CallStyle,
): StructuralTagFormat | undefined {
  if (calls.length === 0) return formatted;
  if (!form)
    throw new JambaError(
      "OPTION",
      "tools: expected messages for a model that calls tools (<|im_start|> or <|bom|> in its vocabulary), found a plain text or another vocabulary",
    );
  if (!forced && !formatted) return textWithCalls(calls, form, single, spell);
  const block = callBlock(calls, form, single, spell(callForms[form].tag), spell);
  return !forced && formatted ? { type: "or", elements: [block, formatted] } : block;
}

/** Whether an answer without calls is none. */
export function isForced(choice: ToolChoice): boolean {
  if (typeof choice !== "object") return choice === "required";
  return !("allowed" in choice) || choice.mode === "required";
}

function formatGrammar(format: Format, found: Set<string>): string {
  if (format.type === "json") {
    const { schema, strict = true } = format;
    return schema === undefined
      ? anyJsonGrammar()
      : schemaGrammar(schema, { notEnforced: strict ? undefined : found, name: "format.schema" });
  }
  if (format.type === "regex") return wholeRegex(format.pattern);
  for (const [part] of format.grammar.matchAll(/#.*|"(?:\\.|[^"\\\n])*"|\[(?:\\.|[^\]\\\n])*\]/gsu))
    if (part.startsWith("[") && !part.startsWith("[^") && /[^\0-\x7f]|\\(u(?!00[0-7])|U(?!000000[0-7])|x[89a-f])/i.test(part))
      throw new JambaError(
        "OPTION",
        `format.grammar: expected classes of ASCII characters, found ${part}, of which xgrammar would match single bytes; write ("é" | "è") or [^…]`,
      );
  return format.grammar;
}

function wholeRegex(pattern: string): string {
  const rules: string[] = [];
  const rule = (body: (self: string) => string) => {
    const self = `r${rules.length}`;
    rules.push("");
    rules[Number(self.slice(1))] = `${self} ::= ${body(self)}\n`;
    return self;
  };
  const root = regexGrammar(pattern, { name: "format.pattern", rule });
  return `root ::= ${root}\n${rules.join("")}`;
}

/** A block of calls, whose opening tag is spelled as `trigger`. */
function callBlock(calls: readonly TagFormat[], form: Form, single: boolean, trigger: string, spell: (text: string) => string): TagFormat {
  const { tag, open, between, close } = callForms[form];
  return {
    type: "tag",
    begin: trigger + open.slice(tag.length),
    content: { type: "tags_with_separator", tags: [...calls], separator: spell(between), at_least_one: true, stop_after_first: single },
    end: spell(close),
  };
}

/** The opening tag begins a call however it is spelled. */
function textWithCalls(calls: readonly TagFormat[], form: Form, single: boolean, spell: (text: string) => string): StructuralTagFormat {
  const { tag } = callForms[form];
  const triggers = [...new Set([tag, spell(tag)])];
  return {
    type: "triggered_tags",
    triggers,
    tags: triggers.map((trigger) => callBlock(calls, form, single, trigger, spell)),
    stop_after_first: single,
  };
}

function callTag(tool: Tool, found: Set<string>): TagFormat {
  return {
    type: "tag",
    begin: `{"name": ${JSON.stringify(tool.name)}, "arguments": `,
    content: grammar(parametersGrammar(tool, found)),
    end: "}",
  };
}

function parametersGrammar({ parameters, strict, path }: Tool, found: Set<string>): string {
  return schemaGrammar(parameters, { notEnforced: strict ? undefined : found, name: `${path}.parameters` });
}

function grammar(text: string): StructuralTagFormat {
  return { type: "grammar", grammar: text };
}

interface Tool {
  readonly name: string;
  readonly parameters: unknown;
  readonly strict: boolean;
  /** In the options. */
  readonly path: string;
}

/** The tools that an answer may call. */
function callable(tools: readonly unknown[] = [], choice: ToolChoice = "auto"): readonly Tool[] {
  if (choice === "none") return [];
  const all = tools.map(readTool);
  if (typeof choice !== "object") return all;
  const names = "allowed" in choice ? choice.allowed : ["function" in choice ? choice.function.name : choice.name];
  return [...new Set(names)].flatMap((name) => {
    const found = all.filter((tool) => tool.name === name);
    if (found.length > 0 || all.length === 0) return found;
    const known = all.map((tool) => tool.name).join(", ");
    throw new JambaError("OPTION", `toolChoice: expected one of ${known}, found ${JSON.stringify(name)}`);
  });
}

function readTool(tool: unknown, i: number): Tool {
  const outer = tool as { function?: Partial<Tool> } & Partial<Tool>;
  const { name, parameters, strict } = outer?.function ?? outer ?? {};
  if (typeof name !== "string")
    throw new JambaError("OPTION", `tools: expected { type: "function", function: { name, parameters } }, found ${JSON.stringify(tool)}`);
  const path = `tools[${i}]${outer.function ? ".function" : ""}`;
  return { name, parameters: parameters ?? { type: "object" }, strict: strict === true, path };
}
