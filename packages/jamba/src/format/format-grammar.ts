// What an answer may look like, as one of xgrammar's structural tags: thoughts, then text, calls or a format. It knows nothing of tokens.

import { JambaError } from "@jamba/core";
import type { StructuralTagFormat, TagFormat } from "@mlc-ai/web-xgrammar";
import { regexGrammar } from "./regex-grammar.ts";
import { anyJsonGrammar, schemaGrammar } from "./schema-grammar.ts";

/**
 * What the whole answer must be.
 * - `json`: a JSON value that satisfies `schema`, or any object or array; on one line, see `schemaGrammar` for what is narrower.
 * - `regex`: a text that `pattern` matches from its first character to its last.
 * - `grammar`: a text of this EBNF (GBNF's syntax, mostly) from its rule `root`. A grammar is a program: one that is made to can take
 *   for ever to compile.
 */
export type Format =
  | { readonly type: "json"; readonly schema?: unknown }
  | { readonly type: "regex"; readonly pattern: string }
  | { readonly type: "grammar"; readonly grammar: string };

/**
 * "auto": text with or without calls. "none": no calls. "required": one or more calls. A name: exactly one call, of this tool.
 * Whichever it is, a call names one of the tools and has arguments by its schema.
 */
export type ToolChoice =
  | "auto"
  | "none"
  | "required"
  | { readonly name: string }
  | { readonly type: "function"; readonly function: { readonly name: string } };

export type Form = "jamba" | "chatml";

export interface AnswerSpec {
  readonly format?: Format;
  /** As for the template: OpenAI's form, or the bare function. */
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
 * @param spell how a text with tags is spelled in the vocabulary
 * @returns undefined where everything is allowed
 * @throws JambaError OPTION for a schema, pattern or choice that is wrong
 */
export function answerGrammar(spec: AnswerSpec, spell: (text: string) => string): StructuralTagFormat | undefined {
  const { format, toolChoice = "auto", parallelToolCalls = true, thoughts = false, form } = spec;
  const tools = toolChoice === "none" ? [] : (spec.tools ?? []).map(readTool);
  if (typeof toolChoice === "object" || toolChoice === "required") {
    if (tools.length === 0) throw new JambaError("OPTION", `toolChoice: expected tools to choose from, found none`);
  }
  const rest = body(format, tools, toolChoice, !parallelToolCalls || typeof toolChoice === "object", form, spell);
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

function body(
  format: Format | undefined,
  tools: readonly Tool[],
  choice: ToolChoice,
  single: boolean,
  form: Form | undefined,
  spell: (text: string) => string,
): StructuralTagFormat | undefined {
  const formatted = format && grammar(formatGrammar(format));
  if (tools.length === 0) return formatted;
  if (!form) throw new JambaError("OPTION", "tools: expected messages, which a template shows tools with, found a plain text as prompt");
  if (choice === "auto" && !formatted) return textWithCalls(tools, form, single, spell);
  const calls = callBlock(chosen(tools, choice), form, single, spell(callForms[form].tag), spell);
  return choice === "auto" && formatted ? { type: "or", elements: [calls, formatted] } : calls;
}

function formatGrammar(format: Format): string {
  if (format.type === "json")
    return format.schema === undefined ? anyJsonGrammar() : schemaGrammar(format.schema, { name: "format.schema" });
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
function callBlock(tools: readonly Tool[], form: Form, single: boolean, trigger: string, spell: (text: string) => string): TagFormat {
  const { tag, open, between, close } = callForms[form];
  const calls = tools.map((tool) => callTag(tool));
  return {
    type: "tag",
    begin: trigger + open.slice(tag.length),
    content: { type: "tags_with_separator", tags: calls, separator: spell(between), at_least_one: true, stop_after_first: single },
    end: spell(close),
  };
}

/** The opening tag begins a call however it is spelled. */
function textWithCalls(tools: readonly Tool[], form: Form, single: boolean, spell: (text: string) => string): StructuralTagFormat {
  const { tag } = callForms[form];
  const triggers = [...new Set([tag, spell(tag)])];
  return {
    type: "triggered_tags",
    triggers,
    tags: triggers.map((trigger) => callBlock(tools, form, single, trigger, spell)),
    stop_after_first: single,
  };
}

function callTag({ name, parameters }: Tool): TagFormat {
  const content = grammar(schemaGrammar(parameters, { lenient: true, name: `tools: ${name}: parameters` }));
  return { type: "tag", begin: `{"name": ${JSON.stringify(name)}, "arguments": `, content, end: "}" };
}

function grammar(text: string): StructuralTagFormat {
  return { type: "grammar", grammar: text };
}

interface Tool {
  readonly name: string;
  readonly parameters: unknown;
}

function readTool(tool: unknown): Tool {
  const outer = tool as { function?: Partial<Tool> } & Partial<Tool>;
  const { name, parameters } = outer?.function ?? outer ?? {};
  if (typeof name !== "string")
    throw new JambaError("OPTION", `tools: expected { type: "function", function: { name, parameters } }, found ${JSON.stringify(tool)}`);
  return { name, parameters: parameters ?? { type: "object" } };
}

function chosen(tools: readonly Tool[], choice: ToolChoice): readonly Tool[] {
  if (typeof choice !== "object") return tools;
  const wanted = "function" in choice ? choice.function.name : choice.name;
  const found = tools.filter(({ name }) => name === wanted);
  if (found.length === 0)
    throw new JambaError(
      "OPTION",
      `toolChoice: expected one of ${tools.map(({ name }) => name).join(", ")}, found ${JSON.stringify(wanted)}`,
    );
  return found;
}
