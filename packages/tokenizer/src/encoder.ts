// A text to ids, in bits of work: added tokens are found here, stretches between them normalized and split by the library's parts a piece
// at a time, and encoded by `bpe.ts`.

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { makeBpe } from "./bpe.ts";
import type { Json } from "./json.ts";
import type { AddedToken, TokenizerFile } from "./tokenizer-json.ts";

/** Ids of any text. Yields after each bit of work. */
export type Encoder = (text: string) => Generator<void, number[]>;

/** UTF-16 units that are looked at between two yields. */
const pieceUnits = 2 ** 14;

export function makeEncoder({ splitting, addedTokens, bpe }: TokenizerFile): Encoder {
  const library = new Library(splitting, {});
  const normalize = makeNormalizer(splitting.normalizer as Json | null, library);
  const split = makeSplitter(splitting.pre_tokenizer as Json | null, library);
  const added = new Map<string, AddedToken>();
  const [asWritten, asNormalized] = [new Map<string, AddedToken>(), new Map<string, AddedToken>()];
  for (const token of addedTokens) {
    added.set(token.content, token);
    if (!token.normalized || !library.normalizer) asWritten.set(token.content, token);
    else {
      const content = library.normalizer(token.content);
      added.set(content, token);
      asNormalized.set(content, token);
    }
  }
  const [findWritten, findNormalized] = [makeFinder(asWritten), makeFinder(asNormalized)];
  // To the library a token that is spelt as an added one is that one, wherever it comes from.
  const renamed = new Map<number, number>();
  for (const [text, { id }] of added) {
    const found = bpe.idOf.get(text);
    if (found !== undefined && found !== id) renamed.set(found, id);
  }
  const encode = makeBpe(bpe);

  return function* (text) {
    const ids: number[] = [];
    const sections = yield* sectionsOf(yield* wellFormed(text), findWritten, added);
    for (const [i, section] of sections.entries()) {
      if (i % pieceUnits === 0) yield;
      if (section === "") continue;
      const token = added.get(section);
      if (token) {
        ids.push(token.id);
        continue;
      }
      const normalized = yield* normalize(section);
      const inner = asNormalized.size === 0 ? [normalized] : yield* sectionsOf(normalized, findNormalized, added);
      for (const part of inner) {
        const id = added.get(part)?.id;
        if (id !== undefined) ids.push(id);
        else if (part !== "") yield* encode(yield* split(part, i), ids);
      }
    }
    if (renamed.size > 0)
      for (const [i, id] of ids.entries()) {
        const other = renamed.get(id);
        if (other !== undefined) ids[i] = other;
        if (i % pieceUnits === 0) yield;
      }
    return ids;
  };
}

/** Half a character has no UTF-8; the Encoding standard writes U+FFFD for it, which the vocabulary may hold as one token. */
function* wellFormed(text: string): Generator<void, string> {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    let end = at + pieceUnits;
    if ((text.charCodeAt(end) & 0xfc00) === 0xdc00) end++;
    pieces.push(text.slice(at, end).toWellFormed?.() ?? text.slice(at, end).replace(/\p{Cs}/gu, "\uFFFD"));
    at = end;
    yield;
  }
  return pieces.join("");
}

/** The tokens in a text and what is between them; a token may take the spaces beside it. */
function* sectionsOf(text: string, find: Finder, added: ReadonlyMap<string, AddedToken>): Generator<void, string[]> {
  const sections = yield* find(text);
  for (const [i, section] of sections.entries()) {
    if (i % pieceUnits === 0) yield;
    const token = added.get(section);
    if (token?.lstrip && i > 0) sections[i - 1] = sections[i - 1].trimEnd();
    if (token?.rstrip && i < sections.length - 1) sections[i + 1] = sections[i + 1].trimStart();
  }
  return sections;
}

/** Cuts a text before and behind each of some words: from the left, of several that begin at a place the longest. */
type Finder = (text: string) => Generator<void, string[]>;

interface Branch {
  readonly next: Map<number, Branch>;
  word?: string;
}

function makeFinder(words: ReadonlyMap<string, unknown>): Finder {
  const root: Branch = { next: new Map() };
  const begins = new Uint8Array(2 ** 16);
  for (const word of words.keys()) {
    let branch = root;
    for (let i = 0; i < word.length; i++) {
      const unit = word.charCodeAt(i);
      if (i === 0) begins[unit] = 1;
      if (!branch.next.has(unit)) branch.next.set(unit, { next: new Map() });
      branch = branch.next.get(unit)!;
    }
    branch.word = word;
  }
  return function* (text) {
    const found: string[] = [];
    let start = 0;
    let work = 0;
    for (let at = 0; at < text.length; ) {
      if (++work % pieceUnits === 0) yield;
      let word: string | undefined;
      if (begins[text.charCodeAt(at)] === 1) {
        let branch: Branch | undefined = root;
        for (let i = at; branch; i++) {
          word = branch.word ?? word;
          branch = branch.next.get(text.charCodeAt(i));
          work++;
        }
      }
      if (word === undefined) at++;
      else {
        if (at > start) found.push(text.slice(start, at));
        found.push(word);
        at += word.length;
        start = at;
      }
    }
    if (start < text.length) found.push(text.slice(start));
    return found;
  };
}

type Normalizer = (text: string) => Generator<void, string>;

/** Where all that it does is to put other texts in place of single characters, it is done a piece at a time; forms of Unicode take the whole. */
function makeNormalizer(found: Json | null, library: Library): Normalizer {
  const whole = library.normalizer;
  if (!whole) return neverYields((text) => text);
  const parts = found!.normalizers as readonly { type: string; prepend: string; pattern?: { String: string }; content: string }[];
  const [first] = parts;
  const others = first.type === "Prepend" ? parts.slice(1) : parts;
  if (!others.every(({ pattern }) => pattern?.String.length === 1)) return neverYields(whole);
  const replacements = others.map(({ pattern, content }) => [pattern!.String, content.replaceAll("$$", "$")] as const);
  return function* (text) {
    const pieces: string[] = [];
    for (let at = 0; at < text.length; at += pieceUnits) {
      const piece = (at === 0 && first.type === "Prepend" ? first.prepend : "") + text.slice(at, at + pieceUnits);
      // replaceAll makes a chain of as many texts as it replaces, and whoever reads it puts them together at once.
      pieces.push(replacements.reduce((text, [sought, content]) => text.split(sought).join(content), piece));
      yield;
    }
    return pieces.join("");
  };
}

type Splitter = (text: string, index: number) => Generator<void, Iterable<string>>;

/** By pieces that begin with a space: there the library's Metaspace puts nothing, and where it splits it does so there. */
function makeSplitter(found: Json | null, library: Library): Splitter {
  const split = library.pre_tokenizer;
  if (!split) return neverYields((text) => [text]);
  const hasWords = (found!.pretokenizers as readonly Json[]).some(({ type }) => type === "Split");
  return function* (text, index) {
    const words: string[] = [];
    for (let at = 0; at < text.length; ) {
      const ends = [" ", "▁"].map((space) => text.indexOf(space, at + pieceUnits)).filter((end) => end > 0);
      const end = Math.min(text.length, ...ends);
      for (const word of split(text.slice(at, end), { section_index: index }) as string[]) words.push(word);
      at = end;
      yield;
    }
    return hasWords ? words : [words.join("")];
  };
}

function neverYields<Args extends readonly unknown[], T>(run: (...args: Args) => T): (...args: Args) => Generator<void, T> {
  // biome-ignore lint/correctness/useYield: it takes no time
  return function* (...args) {
    return run(...args);
  };
}
