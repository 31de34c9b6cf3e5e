// What an answer may look like, as a grammar in llguidance's Lark: thoughts, then text, calls or a format.

import { JambaError } from "@jamba/core";
import { type Part, placeOf, type Source } from "@jamba/grammar";
import { type AnswerSpec, type Form, type Format, isForced, type ToolChoice, tags } from "./format.ts";

/** How each form writes calls, as the templates show them to the model; `close` is followed by the closing tag. */
const callForms = {
  jamba: { tag: "<tool_calls>", endTag: "</tool_calls>", open: "[\n    ", between: [",\n    "], close: "\n]" },
  chatml: {
    tag: "<tool_call>",
    endTag: "</tool_call>",
    open: "\n",
    between: ["\n", "</tool_call>", "\n", "<tool_call>", "\n"],
    close: "\n",
  },
};

/** What a grammar has to know of the vocabulary. */
export interface AnswerTokens {
  /** Of a tag that is one token. */
  idOf(tag: string): number | undefined;
  /** Tokens that are no text, which free text may hold all the same. */
  readonly inText: readonly number[];
}

/**
 * @returns undefined where everything is allowed
 * @throws JambaError OPTION for tools or a choice that is wrong; schemas, patterns and grammars are looked at when it is compiled
 */
export function answerGrammar(spec: AnswerSpec, tokens: AnswerTokens): Source | undefined {
  const { format, toolChoice = "auto", thoughts = false, form } = spec;
  const tools = callable(spec.tools, toolChoice);
  const forced = isForced(toolChoice);
  if ((typeof toolChoice === "object" || toolChoice === "required") && tools.length === 0)
    throw new JambaError("OPTION", `toolChoice: expected tools to choose from, found none`);
  if (tools.length > 0 && !form)
    throw new JambaError(
      "OPTION",
      "tools: expected messages for a model that calls tools (<|im_start|> or <|bom|> in its vocabulary), found a plain text or another vocabulary",
    );
  const isFree = tools.length > 0 && !format && !forced;
  const writer = new Writer(isFree ? tokens : { ...tokens, inText: [] });
  const whole = format && writer.format(format);
  let body = whole;
  if (tools.length > 0) {
    const isNamed = typeof toolChoice === "object" && !("allowed" in toolChoice);
    const single = spec.parallelToolCalls === false || isNamed;
    const calls = writer.calls(tools, form!, single);
    if (isFree) body = writer.textWithCalls(calls, form!, single);
    else body = !forced && whole ? writer.rule(`${writer.block(calls, form!)} | ${whole}`) : writer.block(calls, form!);
  }
  if (!body) return undefined;
  const parts = [thoughts ? [writer.thoughts(), "/\\n{0,2}/"] : [], form === "jamba" && !isFree ? ['" "?'] : [], body].flat();
  return { text: writer.text(parts.join(" ")), parts: writer.parts };
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

/** Puts the rules of one grammar together. */
class Writer {
  readonly parts: Part[] = [];
  readonly #tokens: AnswerTokens;
  readonly #rules: string[] = [];

  constructor(tokens: AnswerTokens) {
    this.#tokens = tokens;
  }

  /** @returns its name */
  rule(body: string, attributes = ""): string {
    const name = `r${this.#rules.length}`;
    this.#rules.push(`${name}${attributes}: ${body}`);
    return name;
  }

  text(start: string): string {
    return [`%llguidance {}`, `start: ${start}`, ...this.#rules, "TEXT: /(.|\\n)*/", ""].join("\n");
  }

  format(format: Format): string {
    if (format.type === "json") {
      const { schema = { type: ["object", "array"] }, strict = false } = format;
      return this.rule(this.#part({ kind: "schema", schema, strict, name: "format.schema" }));
    }
    if (format.type === "grammar") return this.rule(this.#part({ kind: format.syntax ?? "ebnf", grammar: format.grammar }));
    this.#rules.push(`PATTERN: ${this.#part({ kind: "regex", pattern: format.pattern, name: "format.pattern" })}`);
    return "PATTERN";
  }

  call({ name, parameters, strict, path }: Tool): string {
    const head = `{"name": ${JSON.stringify(name)}, "arguments": `;
    const args = this.rule(this.#part({ kind: "schema", schema: parameters, strict, name: `${path}.parameters` }));
    return this.rule(`${quoted(head)} ${args} "}"`);
  }

  /** Calls and the closing tag: what follows the opening one. */
  calls(tools: readonly Tool[], form: Form, single: boolean): string {
    const { endTag, open, between, close } = callForms[form];
    const call = this.rule(tools.map((tool) => this.call(tool)).join(" | "));
    const more = single ? "" : ` (${between.map((part) => this.#spelled(part)).join(" ")} ${call})*`;
    return this.rule(`${quoted(open)} ${call}${more} ${quoted(close)} ${this.#spelled(endTag)}`);
  }

  block(calls: string, form: Form): string {
    return this.rule(`${this.#spelled(callForms[form].tag)} ${calls}`);
  }

  /** The opening tag begins a call however it is spelled. */
  textWithCalls(calls: string, form: Form, single: boolean): string {
    const { tag } = callForms[form];
    const one = this.rule(`${this.#upTo(tag)} ${calls}`);
    const text = this.#freeText();
    return single ? this.rule(`${one} | ${text}`) : this.rule(`${one}* ${text}`);
  }

  thoughts(): string {
    return this.#upTo("</think>");
  }

  /** Text that ends with a tag, as its token or spelled out. */
  #upTo(tag: string): string {
    const id = this.#tokens.idOf(tag);
    const spelled = this.rule(`TEXT ${quoted(tag)}`, "[lazy]");
    // Up to a token of another kind the text is as free as ever.
    const pieces = this.#inText() ? this.rule(`(TEXT ${this.#inText()})* ${spelled}`) : spelled;
    return id === undefined ? pieces : this.rule(`${pieces} | ${this.#freeText()} <[${id}]>`);
  }

  #freeText(): string {
    return this.#inText() ? `(TEXT ${this.#inText()})* TEXT` : "TEXT";
  }

  #inText(): string {
    const { inText } = this.#tokens;
    return inText.length > 0 ? `<[${rangesOf(inText)}]>` : "";
  }

  /** @returns what stands for it until it is written */
  #part(part: Part): string {
    return placeOf(this.parts.push(part) - 1);
  }

  #spelled(text: string): string {
    const id = tags.includes(text) ? this.#tokens.idOf(text) : undefined;
    return id === undefined ? quoted(text) : `<[${id}]>`;
  }
}

/** "1,4-6" of rising numbers. */
function rangesOf(ids: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const id of ids) {
    const last = ranges.at(-1);
    if (last && id === last[1] + 1) last[1] = id;
    else ranges.push([id, id]);
  }
  return ranges.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(",");
}

/** Lark's strings are JSON's. */
function quoted(text: string): string {
  return JSON.stringify(text);
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
