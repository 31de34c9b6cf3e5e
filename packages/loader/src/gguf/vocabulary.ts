// A tokenizer.json as the vocabulary with scores that GGUF files have.

import { TokenizerError } from "@jamba/core";
import { isObject, quote, showJson } from "../source/untrusted.ts";
import { endKeys, isControlEnd, turnEnds } from "./ends.ts";
import type { GgufValue } from "./header.ts";
import { isByte, looksControl, tokenTypes as types } from "./token-types.ts";

type Json = Readonly<Record<string, unknown>>;

/** Far above any piece of text (Jamba's have 32 characters): finding merges takes the square of it. */
const maxCharacters = 1024;

export interface Vocabulary {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** Tokens that a text never becomes here, but may become in an engine that reads the scores. */
  readonly unreachable: readonly string[];
}

/**
 * The metadata `tokenizer.*`.
 *
 * An engine that reads scores merges, of all neighbours that form a token, the pair whose token has the highest score. That is the
 * same as merging by rank if the scores order tokens by the rank of the last merge that makes each. There is one such merge for
 * each token: what lies within a token is merged the same way whatever stands beside it.
 *
 * @param nTokens rows of the embedding: ids that no token has are filled up
 * @throws TokenizerError for a tokenizer that is not a BPE with bytes, or does more to a text than to write spaces as ▁
 */
export function ggufVocabulary(
  tokenizer: unknown,
  tokenizerConfig: unknown,
  { nTokens, bosId, eosIds, padId }: { nTokens: number; bosId?: number; eosIds: readonly number[]; padId?: number },
): Vocabulary {
  const { vocab, added, unknown, merges, spaceInFront } = readTokenizer(tokenizer);
  const idOf = new Map([...Object.entries(vocab), ...added.map(({ content, id }): [string, number] => [content, id])]);
  const tokens: string[] = Array.from({ length: nTokens }, (_, id) => `[PAD${id}]`);
  const tokenTypes = new Int32Array(nTokens).fill(types.unused);
  for (const [token, id] of idOf) {
    if (!Number.isSafeInteger(id) || id < 0 || id >= nTokens)
      throw new TokenizerError(`tokenizer.json: ${quote(token)}: expected an id below ${nTokens}, the rows of the embedding, found ${id}`);
    if (token.length > maxCharacters) fail("model.vocab", `tokens of at most ${maxCharacters} characters`, token);
    tokens[id] = token;
    // Some files list control tokens as words alone.
    tokenTypes[id] = isByte(token) ? types.byte : looksControl(token, types.normal, false) ? types.control : types.normal;
  }
  const config = isObject(tokenizerConfig) ? tokenizerConfig : {};
  const idFor = (key: string) => {
    const found = config[key];
    return idOf.get(isObject(found) ? (found.content as string) : (found as string));
  };
  const ends = [idFor("eos_token") ?? eosIds[0] ?? [], ...turnEnds.map((token) => idOf.get(token) ?? []), ...eosIds].flat();
  for (const { content, id, special } of added) {
    // A comma that no merge may take stays text; what is in brackets is none.
    const isControl = (special && /^[<[].*[>\]]$/s.test(content)) || isControlEnd(id, content, ends);
    tokenTypes[id] = content === unknown ? types.unknown : isControl ? types.control : types.userDefined;
  }
  const { scores, unreachable } = scoresOf(tokens, tokenTypes, merges);
  const entries: [string, GgufValue | undefined][] = [
    ["model", "llama"],
    ["pre", "default"],
    ["tokens", tokens],
    ["scores", scores],
    ["token_type", tokenTypes],
    ["bos_token_id", idFor("bos_token") ?? bosId],
    ["unknown_token_id", idOf.get(unknown ?? "")],
    ["padding_token_id", idFor("pad_token") ?? padId],
    ["add_bos_token", config.add_bos_token !== false],
    ["add_eos_token", config.add_eos_token === true],
    ["add_space_prefix", spaceInFront],
  ];
  const metadata = new Map<string, GgufValue>();
  // Of padding, configs may name an id that no token has, which llama.cpp warns of.
  const isMeant = (key: string, value: GgufValue) => !key.endsWith("_token_id") || (value as number) < nTokens;
  for (const [key, value] of entries) if (value !== undefined && isMeant(key, value)) metadata.set(`tokenizer.ggml.${key}`, value);
  for (const [key, id] of endKeys(ends, tokens)) metadata.set(key, id);
  for (const [name, template] of templatesOf(config)) metadata.set(`tokenizer.chat_template${name}`, template);
  return { metadata, unreachable };
}

/** Tokens in the order in which merges make them, from 0 down; those that no merge makes after them. */
function scoresOf(
  tokens: readonly string[],
  tokenTypes: Int32Array,
  merges: ReadonlyMap<string, ReadonlyMap<string, number>>,
): { scores: Float32Array; unreachable: string[] } {
  const made: { id: number; rank: number }[] = [];
  const unreachable: string[] = [];
  for (const [id, token] of tokens.entries()) {
    if (tokenTypes[id] !== types.normal) continue;
    const rank = lastMerge([...token], merges);
    made.push({ id, rank: rank ?? Number.POSITIVE_INFINITY });
    if (rank === undefined && [...token].length > 1) unreachable.push(token);
  }
  made.sort((a, b) => (a.rank === b.rank ? a.id - b.id : a.rank - b.rank));
  const scores = new Float32Array(tokens.length);
  for (const [place, { id }] of made.entries()) scores[id] = 0 - place;
  return { scores, unreachable };
}

/** The rank of the merge that joins the last two parts; undefined when they never become one. */
function lastMerge(parts: string[], merges: ReadonlyMap<string, ReadonlyMap<string, number>>): number | undefined {
  let last: number | undefined;
  while (parts.length > 1) {
    let [least, at] = [Number.POSITIVE_INFINITY, -1];
    for (let i = 1; i < parts.length; i++) {
      const rank = merges.get(parts[i - 1])?.get(parts[i]) ?? Number.POSITIVE_INFINITY;
      if (rank < least) [least, at] = [rank, i];
    }
    if (at < 0) return undefined;
    parts.splice(at - 1, 2, parts[at - 1] + parts[at]);
    last = least;
  }
  return last;
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

function readTokenizer(json: unknown) {
  if (!isObject(json) || !isObject(json.model)) fail("", "an object with a model", json);
  const { model } = json;
  const { vocab, merges, unk_token: unknown } = model;
  // Files of older library versions leave the type out.
  if (model.type !== undefined && model.type !== "BPE") fail("model.type", '"BPE"', model.type);
  if (model.byte_fallback !== true) fail("model.byte_fallback", "true: characters that are no tokens become bytes", model.byte_fallback);
  if (model.ignore_merges === true) fail("model.ignore_merges", "false", true);
  if (!isObject(vocab)) fail("model.vocab", "an object of ids by token", vocab);
  for (let byte = 0; byte < 256; byte++) {
    const token = `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
    if (!Object.hasOwn(vocab, token)) fail("model.vocab", `a token for every byte, such as ${token}`, undefined);
  }
  if (!Array.isArray(merges)) fail("model.merges", "an array", merges);
  const ranks = new Map<string, Map<string, number>>();
  for (const [rank, merge] of merges.entries()) {
    const parts: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    if (!Array.isArray(parts) || parts.length !== 2) fail(`model.merges[${rank}]`, "a pair", merge);
    const [left, right] = parts as string[];
    const after = ranks.get(left) ?? new Map<string, number>();
    if (!after.has(right)) after.set(right, rank);
    ranks.set(left, after);
  }
  const added = Array.isArray(json.added_tokens) ? json.added_tokens : [];
  const stray = added.find((token) => !isObject(token) || typeof token.content !== "string");
  if (stray !== undefined) fail("added_tokens", "objects with content", stray);
  return {
    vocab: vocab as Record<string, number>,
    added: added as AddedToken[],
    unknown: typeof unknown === "string" ? unknown : undefined,
    merges: ranks,
    spaceInFront: readSpaces(json),
  };
}

/** What happens to a text before it is cut: nothing but spaces to ▁, and maybe one in front. @returns whether that one is */
function readSpaces({ normalizer, pre_tokenizer }: Json): boolean {
  let [inFront, written] = [false, false];
  for (const part of partsOf(normalizer, "normalizers")) {
    if (part.type === "Prepend" && part.prepend === "▁") inFront = true;
    else if (part.type === "Replace" && (part.pattern as Json | undefined)?.String === " " && part.content === "▁") written = true;
    else fail("normalizer", "nothing but spaces written as ▁", part);
  }
  for (const part of partsOf(pre_tokenizer, "pretokenizers")) {
    if (part.type !== "Metaspace" || part.split !== false) fail("pre_tokenizer", "none, or Metaspace that does not split", part);
    const scheme = part.prepend_scheme ?? (part.add_prefix_space === false ? "never" : "always");
    inFront ||= scheme !== "never";
    written = true;
  }
  if (!written) fail("normalizer", "spaces written as ▁", normalizer);
  return inFront;
}

function partsOf(found: unknown, key: string): Json[] {
  if (!isObject(found)) return [];
  return found.type === "Sequence" && Array.isArray(found[key]) ? (found[key] as Json[]) : [found];
}

/** Chat templates, each with the end of its metadata key. */
function templatesOf({ chat_template: found }: Json): [name: string, template: string][] {
  if (typeof found === "string") return [["", found]];
  const named: [string, string][] = Array.isArray(found)
    ? (found as { name: string; template: string }[]).map(({ name, template }) => [name, template])
    : Object.entries(isObject(found) ? (found as Record<string, string>) : {});
  return named.map(([name, template]) => [name === "default" ? "" : `.${name}`, template]);
}

function fail(where: string, expected: string, found: unknown): never {
  throw new TokenizerError(
    `tokenizer.json${where && `: ${where}`}: expected ${expected}, as a GGUF file can say it, found ${showJson(found)}`,
  );
}
