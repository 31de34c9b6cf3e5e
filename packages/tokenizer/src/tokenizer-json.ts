// Checks tokenizer.json before the library sees it: hostile until proven otherwise.

import type { BpeRules } from "./bpe.ts";
import { type DecoderRules, fail, readDecoder, readNormalizer, readPreTokenizer } from "./components.ts";
import { isObject, type Json, show } from "./json.ts";

/** A tokenizer.json whose every part was checked. */
export interface TokenizerFile {
  /** By id; with gaps. */
  readonly tokenOf: readonly (string | undefined)[];
  readonly idOf: ReadonlyMap<string, number>;
  readonly special: ReadonlySet<number>;
  readonly decoder: DecoderRules;
  /** What the library needs to find added tokens, normalize and split, in its form, and nothing else of the file. */
  readonly splitting: Json;
  readonly addedTokens: readonly AddedToken[];
  readonly bpe: BpeRules;
}

/** Ids beyond the vocabulary's own count are gaps; a real file has few. Keeps a damaged id from allocating gigabytes. */
const maxGaps = 65536;
const loneSurrogate = /\p{Cs}/u;

/** Tokens and ids of a file, each unique. */
interface Vocabulary {
  readonly tokenOf: (string | undefined)[];
  readonly idOf: Map<string, number>;
  /** Ids are below it. */
  readonly limit: number;
}

/** @throws TokenizerError naming the part, what was expected and what was found */
export function checkTokenizerJson(json: unknown): TokenizerFile {
  if (!isObject(json)) fail("", "a JSON object", json);
  const { model, added_tokens: added } = json;
  if (!isObject(model)) fail("model", "an object", model);
  // Files of older library versions leave the type out.
  if (model.type !== "BPE" && model.type !== undefined) fail("model.type", '"BPE"', model.type);
  const vocabulary = readVocabulary(model.vocab);
  const bpe = readModel(model, vocabulary);
  const addedTokens = readAddedTokens(added ?? [], vocabulary);
  const { tokenOf, idOf } = vocabulary;
  const special = new Set(addedTokens.filter((token) => token.special).map((token) => token.id));
  for (const id of readEqualTokens(json.equal_tokens ?? [], vocabulary)) if (special.has(idOf.get(tokenOf[id]!)!)) special.add(id);
  return {
    tokenOf,
    idOf,
    special,
    decoder: readDecoder(json.decoder),
    addedTokens,
    bpe,
    splitting: {
      model: { type: "BPE", vocab: {}, merges: [] },
      added_tokens: addedTokens,
      normalizer: readNormalizer(json.normalizer),
      pre_tokenizer: readPreTokenizer(json.pre_tokenizer),
      // bos is ours to add, and text ours to decode.
      post_processor: null,
      decoder: null,
    },
  };
}

function readVocabulary(vocab: unknown): Vocabulary {
  if (!isObject(vocab)) fail("model.vocab", "an object of ids by token", vocab);
  const entries = Object.entries(vocab);
  const vocabulary: Vocabulary = { tokenOf: new Array(entries.length), idOf: new Map(), limit: 2 * entries.length + maxGaps };
  for (const [token, id] of entries) addToken(vocabulary, "model.vocab", token, id);
  return vocabulary;
}

function addToken({ tokenOf, idOf, limit }: Vocabulary, where: string, token: string, id: unknown): number {
  if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0 || id >= limit)
    fail(`${where}: id of ${show(token)}`, `an integer in [0, ${limit})`, id);
  if (loneSurrogate.test(token)) fail(`${where}: token ${id}`, "whole characters", token);
  const [tokenBefore, idBefore] = [tokenOf[id], idOf.get(token)];
  if (tokenBefore !== undefined && tokenBefore !== token) fail(`${where}: id ${id}`, `one token (${show(tokenBefore)})`, token);
  if (idBefore !== undefined && idBefore !== id) fail(`${where}: id of ${show(token)}`, `the one it has already, ${idBefore}`, id);
  tokenOf[id] = token;
  idOf.set(token, id);
  return id;
}

function readModel(model: Json, { idOf }: Vocabulary): BpeRules {
  const { unk_token: unknown = null, dropout, merges } = model;
  if (unknown !== null && (typeof unknown !== "string" || !idOf.has(unknown)))
    fail("model.unk_token", "a token of model.vocab or null", unknown);
  for (const affix of ["continuing_subword_prefix", "end_of_word_suffix"])
    if ((model[affix] ?? "") !== "") fail(`model.${affix}`, "none", model[affix]);
  if ((dropout ?? 0) !== 0) fail("model.dropout", "none: merges that are left out at random are for training", dropout);
  return {
    idOf,
    merges: readMerges(merges, idOf),
    unknownId: unknown === null ? undefined : idOf.get(unknown),
    byteFallback: readFlag(model, "byte_fallback", "model") ?? false,
    fuseUnknown: readFlag(model, "fuse_unk", "model") ?? false,
    ignoreMerges: readFlag(model, "ignore_merges", "model") ?? false,
  };
}

/** Pairs, or texts "left right" as older files have them. What a merge makes must be a token, or its text would be lost. */
function readMerges(merges: unknown, idOf: ReadonlyMap<string, number>): Int32Array {
  if (!Array.isArray(merges)) fail("model.merges", "an array", merges);
  const ids = new Int32Array(3 * merges.length);
  merges.forEach((merge: unknown, i) => {
    const parts: unknown = typeof merge === "string" ? merge.split(" ", 3) : merge;
    if (!Array.isArray(parts) || parts.length !== 2 || typeof parts[0] !== "string" || typeof parts[1] !== "string")
      fail(`model.merges[${i}]`, 'a pair of texts or "left right"', merge);
    const known = (token: string) => idOf.get(token) ?? fail(`model.merges[${i}]`, "tokens of model.vocab", token);
    ids[3 * i] = known(parts[0]);
    ids[3 * i + 1] = known(parts[1]);
    ids[3 * i + 2] = known(parts[0] + parts[1]);
  });
  return ids;
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly normalized: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

function readAddedTokens(added: unknown, vocabulary: Vocabulary): AddedToken[] {
  if (!Array.isArray(added)) fail("added_tokens", "an array", added);
  return added.map((entry: unknown, i) => {
    const where = `added_tokens[${i}]`;
    if (!isObject(entry)) fail(where, "an object", entry);
    const { content } = entry;
    if (typeof content !== "string" || content === "") fail(`${where}.content`, "a text", content);
    // The library would match it inside words too.
    if (readFlag(entry, "single_word", where)) fail(`${where}.single_word`, "false", true);
    const special = readFlag(entry, "special", where) ?? false;
    return {
      id: addToken(vocabulary, where, content, entry.id),
      content,
      special,
      normalized: readFlag(entry, "normalized", where) ?? !special,
      lstrip: readFlag(entry, "lstrip", where) ?? false,
      rstrip: readFlag(entry, "rstrip", where) ?? false,
    };
  });
}

/**
 * Other ids of tokens that the file has already: no text becomes them, and they become the same text. No tokenizer.json of the
 * library has them; GGUF files do, which list a token for each id. @returns the ids
 */
function readEqualTokens(equal: unknown, { tokenOf, idOf, limit }: Vocabulary): number[] {
  if (!Array.isArray(equal)) fail("equal_tokens", "an array", equal);
  return equal.map((entry: unknown, i) => {
    const { id, content } = isObject(entry) ? entry : {};
    if (typeof content !== "string" || !idOf.has(content)) fail(`equal_tokens[${i}].content`, "a token of the file", content);
    if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0 || id >= limit || tokenOf[id] !== undefined)
      fail(`equal_tokens[${i}].id`, "an id that no token has", id);
    tokenOf[id] = content;
    return id;
  });
}

function readFlag(from: Json, name: string, where: string): boolean | undefined {
  const value = from[name] ?? undefined;
  if (value !== undefined && typeof value !== "boolean") fail(`${where}.${name}`, "true or false", value);
  return value;
}
