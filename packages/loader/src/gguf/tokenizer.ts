// The tokenizer in a GGUF file, as the tokenizer.json and tokenizer_config.json that it was made from would describe it.

import { JambaError, TokenizerError } from "@jamba/core";
import { quote, type Warn } from "../source/untrusted.ts";
import type { GgufHeader, GgufValue } from "./header.ts";
import { isByte, isNoId, looksAdded, looksControl, tokenTypes as type } from "./token-types.ts";

type Metadata = GgufHeader["metadata"];
type Json = Record<string, unknown>;

// Far beyond Jamba's 65536 tokens, which have 32 characters at most and 412878 in all. There are fewer merges than characters, so
// this keeps a damaged file from taking all time and memory.
const maxCharacters = 2 ** 21;
const maxTokenLength = 128;

interface Vocabulary {
  readonly tokens: readonly string[];
  /** Of tokens that are equal, the id that a text becomes. */
  readonly idOf: ReadonlyMap<string, number>;
  readonly types: readonly number[];
  /** Undefined when the file only pretends to have them. */
  readonly scores: ArrayLike<number> | undefined;
}

/**
 * Objects for `loadTokenizer`; undefined for a file without a vocabulary. What other readers pass over is passed over here too.
 * @param warn hears of it, where a text or an answer could become another than somebody expects
 * @throws TokenizerError for a vocabulary that is damaged, JambaError UNSUPPORTED for one that is not a SentencePiece BPE
 */
export function ggufTokenizer(metadata: Metadata, warn: Warn = () => undefined): { tokenizer: Json; tokenizerConfig: Json } | undefined {
  const model = metadata.get("tokenizer.ggml.model");
  if (model === undefined || model === "none" || model === "no_vocab") return undefined;
  if (model !== "llama") {
    throw new JambaError(
      "UNSUPPORTED",
      `tokenizer.ggml.model: expected "llama", the SentencePiece BPE of Jamba, found ${show(model)}; use the safetensors files of the model`,
    );
  }
  const vocabulary = readVocabulary(metadata, warn);
  const { tokens, idOf, types, scores } = vocabulary;
  const given = metadata.get("tokenizer.ggml.merges");
  const { merges, unreachable } =
    given === undefined ? mergesOf(vocabulary) : { merges: texts("tokenizer.ggml.merges", given), unreachable: [] };
  // A token that no merge makes can only stand for itself. Without scores, types are a guess too, whatever it looks like.
  const lost = new Set(scores ? unreachable.filter((id) => looksAdded(tokens[id])) : unreachable);
  const isAdded = (content: string, id: number) =>
    ([type.unknown, type.control, type.userDefined].includes(types[id]) || lost.has(id)) && content !== "" && idOf.get(content) === id;
  const addedTokens = tokens.flatMap((content, id) =>
    isAdded(content, id) && !isByte(content) ? [addedToken(id, content, types[id])] : [],
  );
  const token = (name: string) => tokens[tokenId(metadata, name, tokens.length) ?? -1];
  const space = flag(metadata, "add_space_prefix") ?? false;

  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens,
      ...(idOf.size < tokens.length && {
        equal_tokens: tokens.flatMap((content, id) => (idOf.get(content) === id ? [] : [{ id, content }])),
      }),
      normalizer: normalizer(space),
      pre_tokenizer: null,
      post_processor: null,
      decoder: decoder(space),
      model: {
        type: "BPE",
        dropout: null,
        unk_token: token("unknown") ?? tokens[types.indexOf(type.unknown)] ?? null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: tokens.some(isByte),
        ignore_merges: false,
        vocab: Object.fromEntries(idOf),
        merges,
      },
    },
    tokenizerConfig: {
      add_bos_token: flag(metadata, "add_bos_token") ?? true,
      add_eos_token: flag(metadata, "add_eos_token") ?? false,
      bos_token: token("bos"),
      eos_token: token("eos"),
      unk_token: token("unknown"),
      pad_token: token("padding"),
      chat_template: chatTemplate(metadata),
    },
  };
}

function readVocabulary(metadata: Metadata, warn: Warn): Vocabulary {
  const tokens = texts("tokenizer.ggml.tokens", metadata.get("tokenizer.ggml.tokens"));
  const characters = tokens.reduce((sum, token) => sum + token.length, 0);
  const longest = tokens.find((token) => token.length > maxTokenLength);
  if (longest !== undefined) fail("tokenizer.ggml.tokens", `tokens of at most ${maxTokenLength} characters`, quote(longest));
  if (characters > maxCharacters) fail("tokenizer.ggml.tokens", `at most ${maxCharacters} characters in all`, `${characters}`);
  const types = readTypes(metadata, tokens, warn);
  const idOf = idsOf(tokens, types, warn);
  const scores = numbers(metadata, "scores", tokens.length);
  // Converters without SentencePiece's own file write one score for all.
  const different = new Set(Array.from(scores ?? []).filter((_, id) => types[id] === type.normal));
  return { tokens, idOf, types, scores: different.size > 1 ? scores : undefined };
}

/** Types as the file has them, and control where a token can be nothing else. */
function readTypes(metadata: Metadata, tokens: readonly string[], warn: Warn): number[] {
  const types = Array.from(numbers(metadata, "token_type", tokens.length) ?? tokens.map((t) => (isByte(t) ? type.byte : type.normal)));
  const named = new Set([...namedIds, "bos", "eos"].map((name) => tokenId(metadata, name, tokens.length, warn)));
  const controls = new Set(tokens.filter((_, id) => types[id] === type.control));
  const plain = tokens.flatMap((token, id) => (!controls.has(token) && looksControl(token, types[id], named.has(id)) ? [id] : []));
  for (const id of plain) types[id] = type.control;
  if (plain.length > 0)
    warn(
      `tokenizer.ggml.token_type: expected control tokens, found ${listed(plain.map((id) => tokens[id]))} with the type of plain text; read as control tokens, so that prompts hold them whole: a newer conversion of the model has the right types`,
    );
  return types;
}

/** Of tokens that are equal a text becomes the last, as in llama.cpp and transformers, unless that only fills a gap or is none of control. */
function idsOf(tokens: readonly string[], types: readonly number[], warn: Warn): ReadonlyMap<string, number> {
  const idOf = new Map<string, number>();
  const passedOver: string[] = [];
  for (const [id, token] of tokens.entries()) {
    const before = idOf.get(token);
    const isFill = before !== undefined && (types[id] === type.unused || (types[before] === type.control && types[id] !== type.control));
    if (!isFill) idOf.set(token, id);
    if (before !== undefined && !isFill && types[before] !== type.unused) passedOver.push(token);
  }
  if (passedOver.length > 0)
    warn(`tokenizer.ggml.tokens: expected each token once, found ${listed(passedOver)} more than once; texts become the last of equals`);
  return idOf;
}

function listed(tokens: readonly string[]): string {
  const some = tokens.slice(0, 4).map(quote).join(", ");
  return tokens.length > 4 ? `${some} and ${tokens.length - 4} more` : some;
}

/**
 * Every split of a piece into two is a merge; better pieces first, then earlier parts. Without scores a piece is the better the
 * earlier it was learnt, and runs of spaces come last: Jamba's own scores are so, that a space may go with its word first.
 */
function mergesOf({ tokens, idOf, types, scores }: Vocabulary): { merges: [string, string][]; unreachable: number[] } {
  const rankOf = (id: number) => (scores ? -scores[id] : /^▁+$/.test(tokens[id]) ? Number.POSITIVE_INFINITY : id);
  const found: { rank: number; left: number; right: number }[] = [];
  const unreachable: number[] = [];
  for (const [id, token] of tokens.entries()) {
    if (types[id] !== type.normal || idOf.get(token) !== id) continue;
    const before = found.length;
    const rank = rankOf(id);
    for (let cut = 1; cut < token.length; cut++) {
      const left = idOf.get(token.slice(0, cut));
      const right = left === undefined ? undefined : idOf.get(token.slice(cut));
      if (left !== undefined && right !== undefined) found.push({ rank, left, right });
    }
    if (found.length === before && [...token].length > 1) unreachable.push(id);
  }
  found.sort((a, b) => (a.rank === b.rank ? a.left - b.left || a.right - b.right : a.rank < b.rank ? -1 : 1));
  return { merges: found.map(({ left, right }) => [tokens[left], tokens[right]]), unreachable };
}

function addedToken(id: number, content: string, tokenType: number): Json {
  // A comma is a token of its own and still text; <|bom|> is none, whatever type it has.
  const special = tokenType === type.unknown || tokenType === type.control || /^<\|.*\|>$/s.test(content);
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

/**
 * Whether a text gets a space in front. llama.cpp's default is that it does, but its converter leaves the key out where it reads
 * Jamba's SentencePiece file, which says that it does not (add_dummy_prefix = false): absent means no here.
 */
function normalizer(space: boolean): Json {
  const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
  return space ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, spaces] } : spaces;
}

function decoder(space: boolean): Json {
  const decoders: Json[] = [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }];
  if (space) decoders.push({ type: "Strip", content: " ", start: 1, stop: 0 });
  return { type: "Sequence", decoders };
}

/** One text, or a list of named ones as transformers has it. */
function chatTemplate(metadata: Metadata): unknown {
  const key = "tokenizer.chat_template";
  const named = [...metadata]
    .filter(([name]) => name.startsWith(`${key}.`) && !(name === `${key}.default` && metadata.has(key)))
    .map(([name, template]) => ({ name: name.slice(key.length + 1), template }));
  const main = metadata.get(key);
  const all = main === undefined ? named : [{ name: "default", template: main }, ...named];
  for (const { name, template } of all) if (typeof template !== "string") fail(`${key} ${quote(name)}`, "a text", show(template));
  return named.length > 0 ? all : main;
}

/** What the file may name a token for, beside the first and the last of a text: answers are right without these. */
const namedIds = ["unknown", "padding", "eot", "eom", "seperator", "mask"];

/** The id of a token that the file names; undefined where it names none, or one that there is not and that no answer depends on. */
function tokenId(metadata: Metadata, name: string, nTokens: number, warn: Warn = () => undefined): number | undefined {
  const key = `tokenizer.ggml.${name}_token_id`;
  const id = metadata.get(key);
  if (id === undefined || isNoId(id)) return undefined;
  if (!Number.isSafeInteger(id)) fail(key, `an id below ${nTokens}`, show(id));
  if ((id as number) >= 0 && (id as number) < nTokens) return id as number;
  if (!namedIds.includes(name)) fail(key, `an id below ${nTokens}`, show(id));
  warn(`${key}: expected an id below ${nTokens}, found ${show(id)}; passed over, since no token has it`);
  return undefined;
}

function flag(metadata: Metadata, name: string): boolean | undefined {
  const key = `tokenizer.ggml.${name}`;
  const found = metadata.get(key);
  if (found !== undefined && typeof found !== "boolean") fail(key, "true or false", show(found));
  return found;
}

function texts(key: string, found: GgufValue | undefined): readonly string[] {
  if (!Array.isArray(found) || !found.every((text) => typeof text === "string")) return fail(key, "a list of texts", show(found));
  return found;
}

function numbers(metadata: Metadata, name: string, length: number): ArrayLike<number> | undefined {
  const key = `tokenizer.ggml.${name}`;
  const found = metadata.get(key);
  if (found === undefined) return undefined;
  const list = typeof found === "object" ? (found as ArrayLike<unknown>) : [];
  if (list.length !== length || !Array.from(list).every((value) => typeof value === "number" && !Number.isNaN(value)))
    fail(key, `a number for each of ${length} tokens`, show(found));
  return list as ArrayLike<number>;
}

function show(value: GgufValue | undefined): string {
  if (value === undefined) return "none";
  if (typeof value === "object") return `a list of ${value.length}`;
  return typeof value === "string" ? quote(value) : String(value);
}

function fail(key: string, expected: string, found: string): never {
  throw new TokenizerError(`${key}: expected ${expected}, found ${found}; the file is damaged`);
}
