// Conversations to text: the file's own template, or the family's built-in forms.

import { Template } from "@huggingface/jinja";
import { TokenizerError } from "@jamba/core";
import { renderChatml } from "./chatml-form.ts";
import { renderJamba } from "./jamba-form.ts";
import { type Message, type TemplateMessage, toTemplateMessages, toTemplateTools } from "./messages.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { Json } from "./tokenizer-json.ts";

export interface ChatOptions {
  /** A Jinja template, as in tokenizer_config.json. */
  readonly template?: string;
  /** A built-in form, when there is no template: Jamba 1.5 to 1.7, or Jamba2 and Reasoning. By default what the vocabulary has. */
  readonly form?: "jamba" | "chatml";
  readonly tools?: readonly unknown[];
  readonly documents?: readonly unknown[];
  /** Jamba 1.5: `response_format: "json_object"`, `citation_mode: "fast"`. */
  readonly knobs?: Json;
  /** End where the answer begins; true if not given. */
  readonly addGenerationPrompt?: boolean;
  /** Jamba 1.5: how the answer begins. */
  readonly generationPreamble?: string;
  readonly bosToken?: string;
  readonly eosToken?: string;
  readonly tokenizer?: Pick<Tokenizer, "idOf">;
}

/** What the built-in forms are made from. */
export interface FormInput {
  readonly messages: readonly TemplateMessage[];
  readonly tools: readonly { readonly function: Json }[];
  readonly documents: readonly Json[];
  readonly knobs: Json;
  readonly addGenerationPrompt: boolean;
  readonly generationPreamble?: string;
  readonly bosToken: string;
}

const compiled = new Map<string, Template>();
/** A program meets one or two templates; a server that is sent many must not keep them all. */
const keptTemplates = 8;

/** @throws TokenizerError for messages that do not fit, or a template that can't be read or refuses them */
export function renderChat(messages: readonly Message[], options: ChatOptions = {}): string {
  const { template, documents, knobs, addGenerationPrompt = true, generationPreamble, bosToken, eosToken } = options;
  const ready = toTemplateMessages(messages);
  const tools = toTemplateTools(options.tools);
  if (template === undefined) {
    const input = {
      messages: ready,
      tools: tools ?? [],
      documents: (documents ?? []) as Json[],
      knobs: knobs ?? {},
      addGenerationPrompt,
      generationPreamble,
    };
    return formOf(options) === "jamba"
      ? renderJamba({ ...input, bosToken: bosToken ?? "<|startoftext|>" })
      : renderChatml({ ...input, bosToken: bosToken ?? "<|startoftext|>" });
  }
  try {
    return compile(template).render({
      messages: ready,
      tools,
      documents,
      // The published template asks for the flag; whoever passes knobs means them.
      knobs: knobs ? { is_set: true, ...knobs } : {},
      add_generation_prompt: addGenerationPrompt,
      generation_preamble: generationPreamble,
      bos_token: bosToken ?? "",
      eos_token: eosToken ?? "",
    });
  } catch (cause) {
    throw new TokenizerError(`chat template: expected text, found ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

function compile(template: string): Template {
  const found = compiled.get(template) ?? new Template(template);
  compiled.delete(template);
  compiled.set(template, found);
  if (compiled.size > keptTemplates) compiled.delete(compiled.keys().next().value!);
  return found;
}

/** 519 is `<|bom|>` in one tokenizer and an end of turn in the other: the vocabulary's words decide, never ids. */
function formOf({ form, tokenizer }: ChatOptions): "jamba" | "chatml" {
  if (form) return form;
  if (tokenizer?.idOf("<|bom|>") !== undefined) return "jamba";
  if (tokenizer?.idOf("<|im_start|>") !== undefined) return "chatml";
  throw new TokenizerError(
    "chat template: expected one in tokenizer_config.json, or <|bom|> or <|im_start|> in the vocabulary, found none; pass `template`, or plain text",
  );
}

/** JSON as Python's json.dumps writes it, which is what the models were trained on. */
export function pythonJson(value: unknown, indent?: number): string {
  if (indent !== undefined) return JSON.stringify(value, null, indent);
  if (Array.isArray(value)) return `[${value.map((item) => pythonJson(item)).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}: ${pythonJson(item)}`).join(", ")}}`;
  }
  return JSON.stringify(value ?? null);
}
