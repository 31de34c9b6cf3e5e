// Conversations to text: the file's own template, or the family's built-in forms.

import { TokenizerError } from "@jamba/core";
import { renderChatml } from "./chatml-form.ts";
import { continuesFinal, renderOpen, type TurnOptions } from "./final-message.ts";
import { renderJamba } from "./jamba-form.ts";
import { mostSteps, OutOfSteps } from "./jinja/budget.ts";
import { compileTemplate, type Template } from "./jinja/template.ts";
import { isObject, type Json, show } from "./json.ts";
import { type Message, type TemplateMessage, toTemplateDocuments, toTemplateMessages, toTemplateTools } from "./messages.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface ChatOptions extends TurnOptions {
  /** A Jinja template, as in tokenizer_config.json. It is a program: take it from where you take weights. */
  readonly template?: string;
  /** A built-in form, when there is no template: Jamba 1.5 to 1.7, or Jamba2 and Reasoning. By default what the vocabulary has. */
  readonly form?: "jamba" | "chatml";
  /** OpenAI's form: `{ type: "function", function: { name, description, parameters } }`. */
  readonly tools?: readonly unknown[];
  /** `{ title, text }` and whatever else is known of each. */
  readonly documents?: readonly unknown[];
  /** Jamba 1.5: `response_format: "json_object"`, `citation_mode: "fast"`; without effect when `is_set` is false. */
  readonly knobs?: Json;
  /** First words of the answer, which the model continues. Jamba 1.5. */
  readonly generationPreamble?: string;
  readonly bosToken?: string;
  readonly eosToken?: string;
  /** More that a template of one's own reads, under its own names. */
  readonly variables?: Json;
  readonly tokenizer?: Pick<Tokenizer, "idOf">;
}

const compiled = new Map<string, Template>();
/** A program meets one or two templates; a server that is sent many must not keep them all. */
const keptTemplates = 8;

/**
 * @throws TokenizerError for messages that do not fit, or a template that can't be read or refuses them; JambaError OPTION where
 * `addGenerationPrompt` and `continueFinalMessage` contradict each other
 */
export function renderChat(messages: readonly Message[], options: ChatOptions = {}): string {
  return renderWithin(mostSteps, messages, options);
}

/** @param steps that a template may take, see `budget.ts`. @throws as `renderChat`; OutOfSteps */
export function renderWithin(steps: number, messages: readonly Message[], options: ChatOptions): string {
  expectOptions(options);
  const ready = toTemplateMessages(messages);
  const isOpen = continuesFinal(messages, options);
  const render = rendererOf({ ...options, addGenerationPrompt: options.addGenerationPrompt ?? !isOpen }, steps);
  return isOpen ? renderOpen(ready, render) : render(ready);
}

/** What JavaScript and JSON from elsewhere may get wrong without a word: a text "false" would be true. */
export function expectOptions(options: ChatOptions): void {
  const isFlag = (value: unknown) => typeof value === "boolean";
  const checks = [
    ["knobs", isObject, 'an object such as { response_format: "json_object" }'],
    ["variables", isObject, "an object of what the template reads, by names"],
    ["template", (value: unknown) => typeof value === "string", "a text in Jinja"],
    ["addGenerationPrompt", isFlag, "true or false"],
    ["continueFinalMessage", isFlag, "true or false"],
  ] as const;
  for (const [name, valid, expected] of checks) {
    const found: unknown = options[name] ?? undefined;
    if (found !== undefined && !valid(found)) throw new TokenizerError(`${name}: expected ${expected}, found ${show(found)}`);
  }
}

function rendererOf(options: ChatOptions, steps: number): (messages: readonly TemplateMessage[]) => string {
  const { template, knobs, addGenerationPrompt = true, generationPreamble, bosToken, eosToken, variables } = options;
  const tools = toTemplateTools(options.tools);
  const documents = toTemplateDocuments(options.documents);
  if (template === undefined) {
    const own = builtIn(options);
    const render = own.form === "jamba" ? renderJamba : renderChatml;
    const rest = {
      tools: tools ?? [],
      documents: documents ?? [],
      knobs: knobs ?? undefined,
      addGenerationPrompt,
      generationPreamble: generationPreamble ?? "",
      bosToken: own.bosToken,
    };
    return (messages) => guard("chat form", () => render({ messages, ...rest }));
  }
  const given = {
    ...variables,
    // Python passes None for these, and templates ask `is not none`.
    tools: tools ?? null,
    documents: documents ?? null,
    // The published template asks for the flag; whoever passes knobs means them.
    knobs: knobs ? { is_set: true, ...knobs } : {},
    add_generation_prompt: addGenerationPrompt,
    ...(generationPreamble !== undefined && { generation_preamble: generationPreamble }),
    bos_token: bosToken ?? "",
    eos_token: eosToken ?? "",
  };
  return (messages) => guard("chat template", () => compile(template)({ ...given, messages }, steps));
}

/** What a built-in form takes from the vocabulary. */
export function builtIn(options: ChatOptions): Required<Pick<ChatOptions, "form" | "bosToken">> {
  const { bosToken, tokenizer } = options;
  const hasBos = !tokenizer || tokenizer.idOf("<|startoftext|>") !== undefined;
  return { form: formOf(options), bosToken: bosToken ?? (hasBos ? "<|startoftext|>" : "") };
}

function compile(template: string): Template {
  const found = compiled.get(template) ?? compileTemplate(template);
  compiled.delete(template);
  compiled.set(template, found);
  if (compiled.size > keptTemplates) compiled.delete(compiled.keys().next().value!);
  return found;
}

/** 519 is `<|bom|>` in one tokenizer and an end of turn in the other: the vocabulary's words decide, never ids. */
function formOf({ form, tokenizer }: ChatOptions): "jamba" | "chatml" {
  if (form === "jamba" || form === "chatml") return form;
  if (form !== undefined) throw new TokenizerError(`form: expected jamba or chatml, found ${show(form)}`);
  if (tokenizer?.idOf("<|bom|>") !== undefined) return "jamba";
  if (tokenizer?.idOf("<|im_start|>") !== undefined) return "chatml";
  throw new TokenizerError(
    "chat template: expected one in tokenizer_config.json, or <|bom|> or <|im_start|> in the vocabulary, found none; pass `template`, or plain text",
  );
}

/** Of an error's text, which a template may write. */
const shownChars = 1000;

/** A template may call raise_exception; circular arguments have no JSON. */
function guard(what: string, render: () => string): string {
  try {
    return render();
  } catch (cause) {
    if (cause instanceof OutOfSteps) throw cause;
    if (cause instanceof RangeError)
      throw new TokenizerError(`${what}: expected one that calls itself less deep, or values that do, found the stack full`, { cause });
    const found = cause instanceof Error ? cause.message.slice(0, shownChars) : show(cause);
    throw new TokenizerError(`${what}: expected text, found "${found}"; do the messages suit this model?`, { cause });
  }
}
