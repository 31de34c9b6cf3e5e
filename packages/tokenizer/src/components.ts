// The normalizer, pre_tokenizer and decoder of a tokenizer.json: an allow-list of what SentencePiece-like BPE files use.
// A regular expression from a file could run for ever, so none is accepted.

import { TokenizerError } from "@jamba/core";
import { isObject, type Json, show } from "./json.ts";

/** How tokens become text. */
export interface DecoderRules {
  /** Text of one token. */
  tokenText(token: string): string;
  /** Whether tokens `<0x00>` to `<0xFF>` stand for bytes. */
  readonly bytes: boolean;
  /** Dropped from the front of a whole text, up to `count` times: SentencePiece's dummy space. */
  readonly lead: { readonly text: string; readonly count: number };
}

/** Deeper or longer than any real file. */
const maxDepth = 8;
const maxParts = 64;
/** Replacements multiply: thirty that double would make a gigabyte of one letter. */
const maxGrowth = 64;
const maxPrepended = 64;

/** UTF-16 growth of each Unicode normal form at worst, from the Unicode FAQ on normalization. */
const normalForms: Readonly<Record<string, number>> = { NFC: 3, NFD: 4, NFKC: 18, NFKD: 18 };

/** The parts that the library is given, with nothing in them that was not checked. */
export function readNormalizer(found: unknown): Json | null {
  let growth = 1;
  const normalizers = flatten("normalizer", "normalizers", found).map(([part, where]) => {
    const type = part.type as string;
    if (type === "Prepend") {
      const prepend = expectText(part.prepend, `${where}.prepend`);
      if (prepend.length > maxPrepended) fail(`${where}.prepend`, `at most ${maxPrepended} characters`, prepend);
      return { type, prepend };
    }
    if (type !== "Replace" && !Object.hasOwn(normalForms, type)) return failType(where, "Replace, Prepend, NFC, NFD, NFKC, NFKD", type);
    const replacement = type === "Replace" ? readReplace(part, where) : undefined;
    growth *= replacement ? Math.max(1, replacement.to.length / replacement.from.length) : normalForms[type];
    if (growth > maxGrowth) fail(where, `parts that lengthen a text at most ${maxGrowth} times`, growth);
    if (!replacement) return { type };
    // The library hands `content` to String.replaceAll, which reads `$` as a reference.
    return { type, pattern: { String: replacement.from }, content: replacement.to.replaceAll("$", "$$$$") };
  });
  return sequence("normalizers", normalizers);
}

export function readPreTokenizer(found: unknown): Json | null {
  const parts = flatten("pre_tokenizer", "pretokenizers", found).flatMap<Json>(([part, where]) => {
    if (part.type !== "Metaspace") failType(where, "Metaspace", part.type);
    const space = readMetaspace(part, where);
    const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: space.prependScheme };
    // The library's Metaspace never splits; this pattern cuts before each ▁ as the original does.
    const words = { type: "Split", pattern: { Regex: "▁[^▁]*|[^▁]+" }, behavior: "Isolated", invert: true };
    return part.split === false ? [metaspace] : [metaspace, words];
  });
  return sequence("pretokenizers", parts);
}

/** The order is the one of every file seen: parts for tokens, ByteFallback, Fuse, then Strip for the whole text. */
export function readDecoder(found: unknown): DecoderRules {
  const steps: ((token: string) => string)[] = [];
  let lead = { text: " ", count: 0 };
  let [bytes, fused] = [false, false];
  const parts = flatten("decoder", "decoders", found);
  if (parts.length === 0) fail("decoder", "an object", found);
  for (const [part, where] of parts) {
    if (bytes && !fused && part.type !== "Fuse") fail(where, "Fuse after ByteFallback", part.type);
    if (fused && part.type !== "Strip") fail(where, "only Strip after Fuse", part.type);
    if (part.type === "Replace") {
      const { from, to } = readReplace(part, where);
      steps.push((token) => token.replaceAll(from, () => to));
    } else if (part.type === "Metaspace") {
      if (readMetaspace(part, where).prependScheme !== "never") lead = { text: " ", count: 1 };
      steps.push((token) => token.replaceAll("▁", " "));
    } else if (part.type === "Strip") {
      const { text, start, stop } = readStrip(part, where);
      if (fused && (stop > 0 || lead.count > 0)) fail(where, "one Strip after Fuse, of the start alone", part);
      if (fused) lead = { text, count: start };
      else steps.push((token) => strip(token, text, start, stop));
    } else if (part.type === "ByteFallback") bytes = true;
    else if (part.type === "Fuse") fused = true;
    else failType(where, "Replace, Metaspace, Strip, ByteFallback, Fuse", part.type);
  }
  return { tokenText: (token) => steps.reduce((text, step) => step(text), token), bytes, lead };
}

/** A part or nested sequences of parts, as one list with the place of each. */
function flatten(where: string, listKey: string, found: unknown, depth = 0): [part: Json, where: string][] {
  if (found === null || found === undefined) return [];
  if (!isObject(found)) fail(where, "an object or null", found);
  if (found.type !== "Sequence") return [[found, where]];
  const list = found[listKey];
  if (!Array.isArray(list)) fail(`${where}.${listKey}`, "an array", list);
  if (depth > maxDepth || list.length > maxParts) fail(where, `at most ${maxDepth} levels of ${maxParts} parts`, list);
  const parts = list.flatMap((part, i) => flatten(`${where}.${listKey}[${i}]`, listKey, part, depth + 1));
  if (parts.length > maxParts) fail(where, `at most ${maxParts} parts`, parts);
  return parts;
}

function sequence(listKey: string, parts: Json[]): Json | null {
  return parts.length === 0 ? null : { type: "Sequence", [listKey]: parts };
}

function readReplace(part: Json, where: string): { from: string; to: string } {
  const { pattern } = part;
  if (!isObject(pattern) || Object.keys(pattern).some((key) => key !== "String")) fail(`${where}.pattern`, '{ "String": text }', pattern);
  const from = expectText(pattern.String, `${where}.pattern.String`);
  if (from === "") fail(`${where}.pattern.String`, "a character at least", from);
  return { from, to: expectText(part.content, `${where}.content`) };
}

function readMetaspace(part: Json, where: string): { prependScheme: string } {
  const { replacement = "▁", prepend_scheme: scheme, add_prefix_space: prefix = true, split = true } = part;
  if (replacement !== "▁") fail(`${where}.replacement`, '"▁"', replacement);
  if (typeof split !== "boolean") fail(`${where}.split`, "true or false", split);
  // Older files say add_prefix_space, newer ones prepend_scheme.
  const prependScheme = scheme ?? (prefix === false ? "never" : "always");
  if (prependScheme !== "always" && prependScheme !== "first" && prependScheme !== "never")
    fail(`${where}.prepend_scheme`, "always, first or never", scheme);
  return { prependScheme };
}

function readStrip({ content, start = 0, stop = 0 }: Json, where: string): { text: string; start: number; stop: number } {
  const text = expectText(content, `${where}.content`);
  if (text.length !== 1) fail(`${where}.content`, "one character", text);
  for (const count of [start, stop]) if (!Number.isSafeInteger(count) || (count as number) < 0) fail(where, "counts from 0", count);
  return { text, start: start as number, stop: stop as number };
}

function strip(token: string, text: string, start: number, stop: number): string {
  let [from, to] = [0, token.length];
  while (from < start && token[from] === text) from++;
  while (token.length - to < stop && to > from && token[to - 1] === text) to--;
  return token.slice(from, to);
}

function expectText(found: unknown, where: string): string {
  if (typeof found !== "string" || /\p{Cs}/u.test(found)) fail(where, "a text", found);
  return found;
}

function failType(where: string, known: string, found: unknown): never {
  fail(`${where}.type`, `one of ${known}`, found);
}

/** @throws TokenizerError saying where in tokenizer.json, what was expected and what was found */
export function fail(where: string, expected: string, found: unknown): never {
  throw new TokenizerError(
    `tokenizer.json${where && `: ${where}`}: expected ${expected}, found ${show(found)}; the file is damaged or not a SentencePiece-like BPE`,
  );
}
