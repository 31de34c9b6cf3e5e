// Checks tokenizer.json before the library sees it: hostile until proven otherwise.

import { TokenizerError } from "@jamba/core";

export type Json = Readonly<Record<string, unknown>>;

/** What is needed of a tokenizer.json beyond what the library reads itself. */
export interface TokenizerFile {
  readonly json: Json;
  /** Token text by id. */
  readonly tokens: ReadonlyMap<number, string>;
  readonly special: ReadonlySet<number>;
}

/** Ids beyond the vocabulary's own count are gaps; a real file has few. Keeps a damaged id from allocating gigabytes. */
const maxGaps = 65536;
const maxDepth = 8;

/** The parts of SentencePiece-like BPE files. A regular expression from a file could run for ever, so none is accepted. */
const components: Readonly<Record<string, readonly string[]>> = {
  normalizer: ["Sequence", "Replace", "Prepend", "NFC", "NFKC", "NFD", "NFKD"],
  pre_tokenizer: ["Sequence", "Metaspace"],
  decoder: ["Sequence", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"],
};

/** @throws TokenizerError naming the part, what was expected and what was found */
export function checkTokenizerJson(json: unknown): TokenizerFile {
  if (!isObject(json)) fail("", "a JSON object", json);
  const { model, added_tokens: added = [] } = json as Json;
  if (!isObject(model)) fail("model", "an object", model);
  const { type, vocab, merges, unk_token: unknown } = model as Json;
  // Files of older library versions leave the type out.
  if (type !== "BPE" && type !== undefined) fail("model.type", '"BPE"', type);
  if (!isObject(vocab)) fail("model.vocab", "an object of ids by token", vocab);
  const tokens = new Map<number, string>();
  const entries = Object.entries(vocab as Json);
  for (const [token, id] of entries) addToken(tokens, "model.vocab", token, id, 2 * entries.length + maxGaps);
  if (!Array.isArray(added)) fail("added_tokens", "an array", added);
  const special = new Set<number>();
  for (const [i, entry] of (added as unknown[]).entries()) {
    const where = `added_tokens[${i}]`;
    if (!isObject(entry)) fail(where, "an object", entry);
    const { id, content, special: isSpecial = false } = entry as Json;
    if (typeof content !== "string" || content === "") fail(`${where}.content`, "a text", content);
    if (typeof isSpecial !== "boolean") fail(`${where}.special`, "true or false", isSpecial);
    for (const flag of ["single_word", "lstrip", "rstrip", "normalized"]) {
      const value = (entry as Json)[flag];
      if (value !== undefined && typeof value !== "boolean") fail(`${where}.${flag}`, "true or false", value);
    }
    addToken(tokens, where, content as string, id, 2 * entries.length + maxGaps);
    if (isSpecial) special.add(id as number);
  }
  checkMerges(merges);
  if (unknown !== undefined && unknown !== null && !Object.hasOwn(vocab as Json, unknown as string))
    fail("model.unk_token", "a token of model.vocab", unknown);
  for (const flag of ["byte_fallback", "fuse_unk", "ignore_merges"]) {
    const value = (model as Json)[flag];
    if (value !== undefined && value !== null && typeof value !== "boolean") fail(`model.${flag}`, "true or false", value);
  }
  for (const affix of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if ((model as Json)[affix]) fail(`model.${affix}`, "none: words have no affixes in a Jamba tokenizer", (model as Json)[affix]);
  }
  for (const [name, types] of Object.entries(components)) checkComponent(name, (json as Json)[name], types, 0);
  return { json: json as Json, tokens, special };
}

function addToken(tokens: Map<number, string>, where: string, token: string, id: unknown, limit: number): void {
  if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= limit)
    fail(`${where}: id of ${JSON.stringify(token)}`, `an integer in [0, ${limit})`, id);
  const before = tokens.get(id as number);
  if (before !== undefined && before !== token) fail(`${where}: id ${id}`, `one token (${JSON.stringify(before)})`, token);
  tokens.set(id as number, token);
}

function checkMerges(merges: unknown): void {
  if (!Array.isArray(merges)) fail("model.merges", "an array", merges);
  const pairs = Array.isArray((merges as unknown[])[0]);
  for (const [i, merge] of (merges as unknown[]).entries()) {
    const parts = pairs ? merge : typeof merge === "string" ? merge.split(" ") : undefined;
    if (!Array.isArray(parts) || parts.length !== 2 || !parts.every((part) => typeof part === "string")) {
      fail(`model.merges[${i}]`, pairs ? "a pair of texts, as the first is" : 'a text "left right"', merge);
    }
  }
}

function checkComponent(where: string, part: unknown, types: readonly string[], depth: number): void {
  if (part === null || part === undefined) return;
  if (!isObject(part)) fail(where, "an object or null", part);
  const { type, pattern, content, prepend, replacement } = part as Json;
  if (typeof type !== "string" || !types.includes(type)) fail(`${where}.type`, `one of ${types.join(", ")}`, type);
  if (type === "Sequence") {
    const name = ["normalizers", "pretokenizers", "decoders"].find((key) => Array.isArray((part as Json)[key]));
    if (!name || depth > maxDepth) fail(where, "a list of parts", part);
    for (const [i, inner] of ((part as Json)[name!] as unknown[]).entries()) {
      if (inner === null) fail(`${where}[${i}]`, "an object", inner);
      checkComponent(`${where}[${i}]`, inner, types, depth + 1);
    }
  }
  if (type === "Replace") {
    const text = isObject(pattern) ? (pattern as Json).String : undefined;
    if (typeof text !== "string" || text === "" || Object.hasOwn(pattern as Json, "Regex"))
      fail(`${where}.pattern`, '{ "String": text }', pattern);
    if (typeof content !== "string") fail(`${where}.content`, "a text", content);
  }
  if (type === "Prepend" && typeof prepend !== "string") fail(`${where}.prepend`, "a text", prepend);
  if (type === "Metaspace" && typeof replacement !== "string") fail(`${where}.replacement`, "a text", replacement);
  if (type === "Strip") {
    const { start, stop } = part as Json;
    for (const count of [start, stop])
      if (!(Number.isSafeInteger(count) && (count as number) >= 0 && (count as number) < 1024)) fail(where, "start and stop counts", count);
    if (typeof content !== "string") fail(`${where}.content`, "a text", content);
  }
}

export function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fail(where: string, expected: string, found: unknown): never {
  const text = JSON.stringify(found) ?? "nothing";
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  throw new TokenizerError(`tokenizer.json${where && `: ${where}`}: expected ${expected}, found ${shown}`);
}
