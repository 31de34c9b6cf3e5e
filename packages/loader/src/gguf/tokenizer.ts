// The tokenizer in a GGUF file, as the tokenizer.json and tokenizer_config.json that it was made from would describe it.

import { JambaError, TokenizerError } from "@jamba/core";
import { quote } from "../source/untrusted.ts";
import type { GgufHeader, GgufValue } from "./header.ts";

type Metadata = GgufHeader["metadata"];
type Json = Record<string, unknown>;

/** Numbers of token types, from SentencePiece; 5 is for ids that no token has. */
const normalType = 1;
const unknownType = 2;
const controlType = 3;
const userDefinedType = 4;
const byteType = 6;

// Far beyond Jamba's 65536 tokens, which have 32 characters at most and 412878 in all. There are fewer merges than characters, so
// this keeps a damaged file from taking all time and memory.
const maxCharacters = 2 ** 21;
const maxTokenLength = 128;

interface Vocabulary {
  readonly tokens: readonly string[];
  readonly idOf: ReadonlyMap<string, number>;
  readonly types: ArrayLike<number>;
  /** Undefined when the file only pretends to have them. */
  readonly scores: ArrayLike<number> | undefined;
}

/**
 * Objects for `loadTokenizer`; undefined for a file without a vocabulary.
 * @throws TokenizerError for a vocabulary that is damaged, JambaError UNSUPPORTED for one that is not a SentencePiece BPE
 */
export function ggufTokenizer(metadata: Metadata): { tokenizer: Json; tokenizerConfig: Json } | undefined {
  const model = metadata.get("tokenizer.ggml.model");
  if (model === undefined || model === "none" || model === "no_vocab") return undefined;
  if (model !== "llama") {
    throw new JambaError(
      "UNSUPPORTED",
      `tokenizer.ggml.model: expected "llama", the SentencePiece BPE of Jamba, found ${show(model)}; use the safetensors files of the model`,
    );
  }
  const vocabulary = readVocabulary(metadata);
  const { tokens, idOf, types, scores } = vocabulary;
  const given = metadata.get("tokenizer.ggml.merges");
  const { merges, unreachable } =
    given === undefined ? mergesOf(vocabulary) : { merges: texts("tokenizer.ggml.merges", given), unreachable: [] };
  // Without scores, types are a guess too: a token that no merge makes can only stand for itself.
  const lost = new Set(scores ? [] : unreachable);
  const isAdded = (id: number) => [unknownType, controlType, userDefinedType].includes(types[id]) || lost.has(id);
  const addedTokens = tokens.flatMap((content, id) => (isAdded(id) && !isByte(content) ? [addedToken(id, content, types[id])] : []));
  const token = (name: string) => tokenText(metadata, name, tokens);
  const space = flag(metadata, "add_space_prefix") ?? false;

  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens,
      normalizer: normalizer(space),
      pre_tokenizer: null,
      post_processor: null,
      decoder: decoder(space),
      model: {
        type: "BPE",
        dropout: null,
        unk_token: token("unknown") ?? tokens[Array.from(types).indexOf(unknownType)] ?? null,
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

function readVocabulary(metadata: Metadata): Vocabulary {
  const tokens = texts("tokenizer.ggml.tokens", metadata.get("tokenizer.ggml.tokens"));
  const characters = tokens.reduce((sum, token) => sum + token.length, 0);
  const longest = tokens.find((token) => token.length > maxTokenLength);
  if (longest !== undefined) fail("tokenizer.ggml.tokens", `tokens of at most ${maxTokenLength} characters`, quote(longest));
  if (characters > maxCharacters) fail("tokenizer.ggml.tokens", `at most ${maxCharacters} characters in all`, `${characters}`);
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  if (idOf.size < tokens.length) {
    const id = tokens.findIndex((token, id) => idOf.get(token) !== id);
    fail("tokenizer.ggml.tokens", "each token once", `${quote(tokens[id])} as ${id} and as ${idOf.get(tokens[id])}`);
  }
  const types = numbers(metadata, "token_type", tokens.length) ?? tokens.map((token) => (isByte(token) ? byteType : normalType));
  const scores = numbers(metadata, "scores", tokens.length);
  // Converters without SentencePiece's own file write one score for all.
  const different = new Set(Array.from(scores ?? []).filter((_, id) => types[id] === normalType));
  return { tokens, idOf, types, scores: different.size > 1 ? scores : undefined };
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
    if (types[id] !== normalType) continue;
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

function addedToken(id: number, content: string, type: number): Json {
  // A comma is a token of its own and still text; <|bom|> is none, whatever type it has.
  const special = type === unknownType || type === controlType || /^<\|.*\|>$/s.test(content);
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
    .filter(([name]) => name.startsWith(`${key}.`))
    .map(([name, template]) => ({ name: name.slice(key.length + 1), template }));
  const main = metadata.get(key);
  const all = main === undefined ? named : [{ name: "default", template: main }, ...named];
  for (const { name, template } of all) if (typeof template !== "string") fail(`${key} ${quote(name)}`, "a text", show(template));
  return named.length > 0 ? all : main;
}

function tokenText(metadata: Metadata, name: string, tokens: readonly string[]): string | undefined {
  const key = `tokenizer.ggml.${name}_token_id`;
  const id = metadata.get(key);
  if (id === undefined) return undefined;
  if (typeof id !== "number" || tokens[id] === undefined) fail(key, `an id below ${tokens.length}`, show(id));
  return tokens[id];
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

function isByte(token: string): boolean {
  return /^<0x[0-9A-F]{2}>$/i.test(token);
}

function show(value: GgufValue | undefined): string {
  if (value === undefined) return "none";
  if (typeof value === "object") return `a list of ${value.length}`;
  return typeof value === "string" ? quote(value) : String(value);
}

function fail(key: string, expected: string, found: string): never {
  throw new TokenizerError(`${key}: expected ${expected}, found ${found}; the file is damaged`);
}
