// Options of generate, stream and sessions, checked at the door.

import { JambaError } from "@jamba/core";
import type { Format, ToolChoice } from "../format/format.ts";
import { isStandardSchema, jsonSchemaOf, type StandardSchema } from "../format/standard-schema.ts";
import type { Tenant } from "../state/tenant.ts";
import { expectKnown, shown } from "./known-names.ts";
import type { PromptLookup } from "./prompt-lookup.ts";
import { type RunTool, readTools, type ToolDefinition, type Tools } from "./tools.ts";

/** What is not given is as the checkpoint's generation_config.json says (`model.defaults`), and else as said here. */
export interface GenerateOptions<Parsed = unknown, Arguments = Record<string, never>> {
  /** New tokens at most; 1024 unless generation_config.json says otherwise. */
  maxTokens?: number;
  /** 0 (the default unless generation_config.json says otherwise): always the most probable token. */
  temperature?: number;
  /** Keep the k most probable tokens; 0 keeps all. */
  topK?: number;
  /** Keep the fewest most probable tokens that together reach this probability. */
  topP?: number;
  /** Drop tokens less probable than this share of the most probable one. */
  minP?: number;
  /** Keep the tokens whose surprise is nearest to the expected one, until they together reach this probability. */
  typicalP?: number;
  /** Sometimes drop all likely tokens but the least likely of them: variety without nonsense. */
  xtc?: {
    /** How often it happens, in [0, 1]. */
    readonly probability: number;
    /** From which probability on a token is likely; 0.1 if not given. Above 0.5 nothing happens. */
    readonly threshold?: number;
  };
  /** "Don't repeat yourself": a token that would go on with a copy of earlier text becomes less likely, the more the longer the copy. */
  dry?: {
    /** What a copy of `allowedLength` tokens costs, taken from the logit. */
    readonly multiplier: number;
    /** What each token more multiplies that with; 1.75 if not given. */
    readonly base?: number;
    /** Shorter copies cost nothing; 2 if not given. */
    readonly allowedLength?: number;
    /** How many tokens back to look; all if not given. */
    readonly lastN?: number;
    /** Copies do not reach over tokens with these texts; line breaks, colons, quotes and asterisks if not given. */
    readonly breakers?: readonly string[];
  };
  /** Above 1 makes tokens of the prompt and the answer less likely (Keskar et al. 2019, arXiv 1909.05858). */
  repetitionPenalty?: number;
  /** Taken from a token's logit for each time the answer has it. */
  frequencyPenalty?: number;
  /** Taken from a token's logit if the answer has it. */
  presencePenalty?: number;
  /** Added to logits, by token id. */
  logitBias?: Readonly<Record<number, number>>;
  /** The answer ends before the first of these that its text (or its thoughts) have whole. Calls of tools are not searched. */
  stop?: string | readonly string[];
  /** Same seed, same text. Drawn at random if not given. */
  seed?: number;
  /** So many answers to the same prompt, which is read once (unless it is very short); the i-th draws with seed + i. */
  n?: number;
  /** Report the log probability of each new token. */
  logprobs?: boolean;
  /** Report this many alternatives per token. */
  topLogprobs?: number;
  /**
   * What the model may call, by name or in a list. Calls of tools that all have `run` are answered, and the model goes on until it calls
   * none (see `Result.rounds`); other calls end the answer with "tool-calls".
   */
  tools?: Tools<Arguments>;
  /** With tools that run: answers at most, of which the last may end with calls that nobody ran; 10 if not given. */
  maxRounds?: number;
  /**
   * "auto" (default): as the model likes; "required": one call or more; { name }: one call of that tool; { allowed, mode }: as the mode
   * says, but of these tools only. Calls fit their tool's parameters.
   */
  toolChoice?: ToolChoice;
  /** false: at most one call, which ends the answer. */
  parallelToolCalls?: boolean;
  /** What the answer is bound to: JSON of a schema, a regular expression or a grammar. */
  format?: Format<Parsed>;
  /** Whether `Result.text` is without thoughts (`<think>`), as that of answers to messages is by default; `Result.reasoning` has them anyway. */
  reasoning?: boolean;
  documents?: readonly unknown[];
  /**
   * What becomes of messages that are longer than the context. "none" (default): refused, with code CONTEXT_FULL. "auto": the oldest turns
   * are left out, as few as leave room for `maxTokens` (if that is not given for 1024, or a quarter of the context if that is less), and
   * `Result.dropped` says which. System messages, the last message of the user, and a result apart from its call never are; if the rest
   * is still too long it is refused. Texts and ids are not cut.
   */
  truncation?: "none" | "auto";
  /** Template variables of Jamba 1.5 (`response_format`, `citation_mode`, …). */
  knobs?: Readonly<Record<string, unknown>>;
  /** What else the checkpoint's own template reads, by name. */
  variables?: Readonly<Record<string, unknown>>;
  /** Go on from the last message, which is the assistant's, instead of beginning an answer; so does `prefix: true` on it. */
  continueFinalMessage?: boolean;
  /** Whether a prompt of messages ends where an answer begins; true if not given, unless the last message is continued. */
  addGenerationPrompt?: boolean;
  /** Go on after an end-of-text or end-of-turn token; not where `format` or `toolChoice` ends the answer. */
  ignoreEos?: boolean;
  /** Who goes first when not all can; 0 if not given. Each level more is worth half a minute of waiting. */
  priority?: number;
  /**
   * On whose behalf the call is made. Calls of one tenant find the states that its calls left, and no others': neither `cachedTokens` nor
   * `cacheMissReason` tells of another's. Tenants take turns where not all can go on. Calls without one are together one tenant.
   */
  tenant?: string | Tenant;
  /** Calls of one name take turns as one: the prompts of a request, which then is not served before others for having many. */
  request?: string;
  /** After so many milliseconds the answer is cancelled, with a TimeoutError as the reason. */
  timeoutMs?: number;
  /** Guess ahead what repeats earlier text: the same answer, sooner where it copies much. */
  promptLookup?: PromptLookup;
  /** Ends the answer, which then resolves with what there is: see `TextStream`. */
  signal?: AbortSignal;
  /** Throw the reason of a cancel in place of what there is. */
  throwOnCancel?: boolean;
  onToken?: (id: number) => void;
}

type Check = readonly [valid: (value: unknown) => boolean, expected: string];

const number = (min: number, max: number, integer = false): Check => [
  (v) => typeof v === "number" && v >= min && v <= max && (!integer || Number.isSafeInteger(v)),
  `${integer ? "an integer" : "a number"} in [${min}, ${max}]`,
];
const isText = (v: unknown) => typeof v === "string" && v.length > 0;
const isNamed = (v: unknown) => isObject(v) && isText((v as { name?: unknown }).name);
const isObject = (v: unknown) => typeof v === "object" && v !== null && !Array.isArray(v);
/** An object of these fields and no others. */
const fields = (checks: Readonly<Record<string, Check>>, needed: readonly string[]) => (v: unknown) =>
  isObject(v) &&
  needed.every((name) => (v as Record<string, unknown>)[name] !== undefined) &&
  Object.entries(v as object).every(([name, value]) => Object.hasOwn(checks, name) && (value === undefined || checks[name][0](value)));
const boolean: Check = [(v) => typeof v === "boolean", "true or false"];
const list: Check = [Array.isArray, "an array"];

const checks: Readonly<Record<keyof GenerateOptions, Check>> = {
  maxTokens: number(0, Number.MAX_SAFE_INTEGER, true),
  temperature: number(0, 100),
  topK: number(0, Number.MAX_SAFE_INTEGER, true),
  topP: number(0, 1),
  minP: number(0, 1),
  typicalP: number(0, 1),
  xtc: [
    fields({ probability: number(0, 1), threshold: number(0, 1) }, ["probability"]),
    "{ probability, threshold? } with numbers in [0, 1]",
  ],
  dry: [
    fields(
      {
        multiplier: number(0, 1000),
        base: number(1, 100),
        allowedLength: number(1, 2 ** 20, true),
        lastN: number(0, Number.MAX_SAFE_INTEGER, true),
        breakers: [(v) => Array.isArray(v) && v.every(isText), ""],
      },
      ["multiplier"],
    ),
    "{ multiplier, base?, allowedLength?, lastN?, breakers? }: multiplier from 0, base from 1, counts, and texts",
  ],
  repetitionPenalty: number(0.01, 100),
  frequencyPenalty: number(-100, 100),
  presencePenalty: number(-100, 100),
  logitBias: [
    (v) =>
      isObject(v) && Object.entries(v as object).every(([id, bias]) => /^\d+$/.test(id) && typeof bias === "number" && !Number.isNaN(bias)),
    "numbers by token id",
  ],
  stop: [(v) => isText(v) || (Array.isArray(v) && v.every(isText)), "a text or an array of texts, none of them empty"],
  seed: number(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true),
  logprobs: boolean,
  topLogprobs: number(0, 100, true),
  tools: [(v) => typeof v === "object" && v !== null, "an array of tools, or tools by name"],
  maxRounds: number(1, 1000, true),
  toolChoice: [
    (v) =>
      ["auto", "none", "required"].includes(v as string) ||
      isNamed(v) ||
      (isObject(v) && isNamed((v as { function?: unknown }).function)) ||
      fields(
        {
          allowed: [(names) => Array.isArray(names) && names.length > 0 && names.every(isText), ""],
          mode: [(m) => m === "auto" || m === "required", ""],
        },
        ["allowed"],
      )(v),
    '"auto", "none", "required", { name } or { allowed, mode? }',
  ],
  parallelToolCalls: boolean,
  format: [
    (v) =>
      fields(
        {
          type: [(t) => t === "json", ""],
          schema: [(s) => isObject(s) || typeof s === "boolean" || isStandardSchema(s), ""],
          strict: boolean,
        },
        ["type"],
      )(v) ||
      fields({ type: [(t) => t === "regex", ""], pattern: [isText, ""] }, ["type", "pattern"])(v) ||
      fields({ type: [(t) => t === "grammar", ""], grammar: [isText, ""], syntax: [(s) => s === "ebnf" || s === "lark", ""] }, [
        "type",
        "grammar",
      ])(v),
    '{ type: "json", schema?, strict? }, { type: "regex", pattern } or { type: "grammar", grammar, syntax? }',
  ],
  reasoning: boolean,
  documents: list,
  truncation: [(v) => v === "none" || v === "auto", '"none" or "auto"'],
  knobs: [isObject, "an object"],
  variables: [isObject, "an object"],
  continueFinalMessage: boolean,
  addGenerationPrompt: boolean,
  ignoreEos: boolean,
  n: number(1, 1024, true),
  priority: number(-100, 100),
  request: [isText, "a text"],
  tenant: [
    (v) => isText(v) || fields({ name: [isText, ""], shares: [(s) => s === "none" || s === "system" || s === "all", ""] }, ["name"])(v),
    'a name, or { name, shares? } where shares is "none", "system" or "all"',
  ],
  // Timers take whole milliseconds, and run at once where they are set for longer.
  timeoutMs: number(1, 2 ** 31 - 1, true),
  promptLookup: [
    fields({ maxTokens: number(1, 64, true), ngram: number(1, 64, true) }, []),
    "{ maxTokens?, ngram? } with integers in [1, 64]",
  ],
  signal: [(v) => v instanceof AbortSignal, "an AbortSignal"],
  throwOnCancel: boolean,
  onToken: [(v) => typeof v === "function", "a function"],
};

/** Options as the rest of the package reads them. */
export interface CheckedOptions extends Omit<GenerateOptions, "tools" | "tenant"> {
  tenant?: Tenant;
  tools?: readonly ToolDefinition[];
  /** Of `tools`, what runs them. */
  runners?: ReadonlyMap<string, RunTool>;
  /** What judges an answer in `format`, beside its JSON schema. */
  answerSchema?: StandardSchema;
}

/**
 * @returns the options without those that are undefined, which must not hide a default; schemas of libraries as JSON schemas
 * @throws JambaError OPTION for an unknown name or a value out of range
 */
export function checkOptions(options: GenerateOptions): CheckedOptions {
  if (!isObject(options)) throw new JambaError("OPTION", `options: expected an object, found ${shown(options)}`);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) {
    expectKnown(name, Object.keys(checks));
    const [valid, expected] = checks[name as keyof GenerateOptions];
    if (!valid(value)) throw new JambaError("OPTION", `${name}: expected ${expected}, found ${shown(value)}`);
  }
  const { tools, format, tenant, ...rest } = Object.fromEntries(given) as GenerateOptions;
  const checked = { ...rest, ...(tools && toolOptions(tools)), ...(format && formatOptions(format)) };
  return tenant === undefined ? checked : { ...checked, tenant: typeof tenant === "string" ? { name: tenant } : tenant };
}

function toolOptions(tools: Tools): Pick<CheckedOptions, "tools" | "runners"> {
  const { definitions, runners } = readTools(tools);
  return { tools: definitions, runners };
}

/** A schema of a library judges the answer itself too, and so finds what a grammar leaves open. */
function formatOptions(format: Format): Pick<CheckedOptions, "format" | "answerSchema"> {
  if (format.type !== "json" || !isStandardSchema(format.schema)) return { format };
  const schema = jsonSchemaOf(format.schema, "format.schema");
  return { format: { ...format, schema }, answerSchema: format.schema as StandardSchema };
}
