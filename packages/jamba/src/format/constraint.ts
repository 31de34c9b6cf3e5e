// What may come next in an answer, token by token: formats and tool calls, through xgrammar.

import { JambaError } from "@jamba/core";
import type { Tokenizer } from "@jamba/tokenizer";
import type { CompiledGrammar, GrammarCompiler, GrammarMatcher } from "@mlc-ai/web-xgrammar";
import { type AnswerSpec, answerGrammar, boundPart, isForced, tags } from "./format-grammar.ts";
import { guard, type Instance, isWorn, loadXgrammar } from "./xgrammar.ts";

/** What may come next in one answer. An answer that `maxTokens` cuts is the beginning of one that fits. */
export interface Constraint {
  /** Which tokens may come next: bit id & 31 of word id >> 5. Valid until `accept`. @throws JambaError OPTION where a grammar leads nowhere */
  allowed(): Promise<Int32Array>;
  /** Begins to compute that, while a step runs on other threads; without it `allowed` does so. */
  prepare(): void;
  /** Moves on. @throws JambaError OPTION for a token that can't come next, with nothing changed */
  accept(id: number): void;
  /** Takes back the last `count` tokens. @throws JambaError OPTION when there are fewer */
  rollback(count: number): void;
  /** A token that ends the answer was accepted. */
  readonly ended: boolean;
  /** What it leaves open of schemas that are not strict, see `unenforced`. */
  readonly notEnforced: readonly string[];
  dispose(): void;
}

/** Compiled formats that are kept: compiling takes about as long as a few tokens of a small model. */
const keptFormats = 16;

/** Before the text of control tokens, so that no JSON string can hold one. No text of a model holds this character. */
const control = "\u0001";

interface Compiled {
  readonly grammar: CompiledGrammar;
  readonly notEnforced: readonly string[];
}

interface Table {
  readonly instance: Instance;
  readonly compiler: GrammarCompiler;
  /** Bits of tokens that are never allowed, and of those that only free text may hold. */
  readonly never: Int32Array;
  readonly onlyInText: Int32Array;
  readonly compiled: Map<string, Compiled>;
}

/** Formats over one vocabulary. Nothing is loaded before the first is opened; that takes a quarter of a second for 65,536 tokens. */
export class Constraints {
  readonly #tokenizer: Tokenizer;
  readonly #stopIds: readonly number[];
  #table: Promise<Table> | undefined;
  /** Meets every grammar first: one that xgrammar breaks off at leaves damage behind, which must not reach running answers. */
  #checker: Promise<Instance> | undefined;

  constructor(tokenizer: Tokenizer, stopIds: Iterable<number>) {
    this.#tokenizer = tokenizer;
    this.#stopIds = [...stopIds].filter((id) => id < tokenizer.vocabSize);
  }

  /**
   * @param given what the answer has already; `thoughts` is about where this begins
   * @returns undefined where everything is allowed
   * @throws JambaError OPTION for a format or choice that is wrong or can't be enforced, or that no answer with this prefix fits;
   * UNSUPPORTED for a model without a stop token
   */
  async open(whole: AnswerSpec, given = ""): Promise<Constraint | undefined> {
    const { spec, prefix } = boundPart(whole, given);
    const key = JSON.stringify(spec);
    const compiled = (await this.#table)?.compiled.get(key) ?? (await this.#compile(spec));
    if (!compiled) return undefined;
    const table = await this.#table!;
    keep(table.compiled, key, compiled);
    const { grammar, notEnforced } = compiled;
    const matcher = await guard(table.instance, "format", ({ GrammarMatcher }) => GrammarMatcher.createGrammarMatcher(grammar));
    try {
      expectBeginning(matcher, this.#spell(prefix));
    } catch (error) {
      matcher.dispose();
      throw error;
    }
    const isText = !spec.format && !isForced(spec.toolChoice ?? "auto");
    return new GrammarConstraint(matcher, isText ? table.never : table.onlyInText, this.#tokenizer, notEnforced);
  }

  /** Tags that are tokens of their own, as these tokens. */
  #spell(text: string): string {
    return tags.reduce(
      (spelled, tag) => (this.#isControl(this.#tokenizer.idOf(tag)) ? spelled.replaceAll(tag, control + tag) : spelled),
      text,
    );
  }

  /** Some vocabularies mark plain characters as special, such as Jamba 1.5 its comma. */
  #isControl(id: number | undefined): boolean {
    return id !== undefined && this.#tokenizer.isSpecial(id) && this.#tokenizer.tokenOf(id)!.length > 1;
  }

  async #compile(spec: AnswerSpec): Promise<Compiled | undefined> {
    const notEnforced = new Set<string>();
    const tag = answerGrammar(spec, (text) => this.#spell(text), notEnforced);
    if (!tag) return undefined;
    if (this.#stopIds.length === 0)
      throw new JambaError(
        "UNSUPPORTED",
        "format: expected a model with an end-of-text token, found none in its config; there is no way to end",
      );
    this.#table ??= this.#load();
    const table = await this.#table;
    this.#checker ??= loadXgrammar();
    const checker = await this.#checker;
    try {
      const grammar = await guard(checker, "format", ({ Grammar }) => Grammar.fromStructuralTag(tag));
      grammar.dispose();
    } catch (error) {
      if (isWorn(checker)) this.#checker = undefined;
      throw error;
    }
    const compiled = await guard(table.instance, "format", () => table.compiler.compileStructuralTag(tag));
    return { grammar: compiled, notEnforced: [...notEnforced] };
  }

  async #load(): Promise<Table> {
    const instance = await loadXgrammar();
    const { vocabSize } = this.#tokenizer;
    const never = new Int32Array(Math.ceil(vocabSize / 32));
    const inText = never.slice();
    const texts: (string | Uint8Array)[] = [];
    for (let id = 0; id < vocabSize; id++) {
      const piece = this.#tokenizer.tokenOf(id) === undefined ? "" : this.#tokenizer.pieceOf(id);
      const isControl = this.#isControl(id);
      texts.push(typeof piece === "number" ? Uint8Array.of(piece) : isControl ? control + piece : piece);
      const isOurs = piece === control.charCodeAt(0) || (typeof piece === "string" && piece.includes(control));
      if (isOurs) never[id >> 5] |= 1 << (id & 31);
      if (isControl && !tags.includes(String(piece)) && !this.#stopIds.includes(id)) inText[id >> 5] |= 1 << (id & 31);
    }
    const { library } = instance;
    // Its types do not know that texts may be given as bytes.
    const info = await library.TokenizerInfo.createTokenizerInfo(texts as string[], "raw", false, vocabSize, [...this.#stopIds]);
    const compiler = await library.GrammarCompiler.createGrammarCompiler(info, false);
    info.dispose();
    return { instance, compiler, never, onlyInText: inText.map((bits, i) => bits | never[i]), compiled: new Map() };
  }

  /** Constraints that are open go on. */
  async dispose(): Promise<void> {
    const table = await this.#table;
    this.#table = undefined;
    this.#checker = undefined;
    for (const { grammar } of table?.compiled.values() ?? []) grammar.dispose();
    table?.compiler.dispose();
  }
}

/** Moves on by a text. @throws JambaError OPTION where an answer can't begin with it, and where it stops to fit */
function expectBeginning(matcher: GrammarMatcher, text: string): void {
  if (text === "" || matcher._acceptString(text)) return;
  const shown = (some: string) => JSON.stringify(some.replaceAll(control, ""));
  let fits = "";
  for (const char of text) {
    if (!matcher._acceptString(char)) break;
    fits += char;
  }
  const chars = 40;
  const [before, behind] = [fits.slice(-chars), text.slice(fits.length, fits.length + chars)];
  throw new JambaError(
    "OPTION",
    `continueFinalMessage: expected words that an answer of this format or with these tools can begin with, found ${shown(behind)} behind the first ${
      fits.replaceAll(control, "").length
    } characters, which fit and end with ${shown(before)}; what binds an answer binds the words that it goes on from too`,
  );
}

/** The one used longest ago goes. Answers under way keep what they need of it. */
function keep(kept: Map<string, Compiled>, key: string, compiled: Compiled): void {
  kept.delete(key);
  kept.set(key, compiled);
  if (kept.size <= keptFormats) return;
  const [oldest] = kept.keys();
  kept.get(oldest)!.grammar.dispose();
  kept.delete(oldest);
}

class GrammarConstraint implements Constraint {
  readonly notEnforced: readonly string[];
  readonly #matcher: GrammarMatcher;
  /** Bits of the tokens that are banned whatever the grammar says. */
  readonly #banned: Int32Array;
  readonly #tokenizer: Tokenizer;
  #accepted = 0;
  #next: Promise<Int32Array> | undefined;

  constructor(matcher: GrammarMatcher, banned: Int32Array, tokenizer: Tokenizer, notEnforced: readonly string[]) {
    this.notEnforced = notEnforced;
    this.#matcher = matcher;
    this.#banned = banned;
    this.#tokenizer = tokenizer;
  }

  get ended(): boolean {
    return this.#matcher.isTerminated();
  }

  prepare(): void {
    if (this.#next || this.ended) return;
    this.#next = this.#matcher.getNextTokenBitmask();
    this.#next.catch(() => undefined); // `allowed` throws it, if it is asked for at all
  }

  async allowed(): Promise<Int32Array> {
    if (this.ended) throw new JambaError("OPTION", "allowed: expected an answer that goes on, found one that has ended");
    this.prepare();
    const bits = (await this.#next!).map((word, i) => word & ~this.#banned[i]);
    if (bits.every((word) => word === 0))
      throw new JambaError("OPTION", "format: expected a grammar that can end, found one that allows no token of this vocabulary here");
    return bits;
  }

  accept(id: number): void {
    const isBanned = ((this.#banned[id >> 5] ?? -1) >>> (id & 31)) & 1;
    if (this.ended || isBanned || !this.#matcher.acceptToken(id))
      throw new JambaError(
        "OPTION",
        `accept: expected a token that the format allows, found ${id} (${JSON.stringify(this.#tokenizer.tokenOf(id))}); was allowed() left out?`,
      );
    this.#accepted++;
    this.#next = undefined;
  }

  rollback(count: number): void {
    if (!(count >= 0 && count <= this.#accepted))
      throw new JambaError("OPTION", `rollback: expected at most the ${this.#accepted} tokens that were accepted, found ${count}`);
    if (count === 0) return;
    this.#matcher.rollBack(count);
    this.#accepted -= count;
    this.#next = undefined;
  }

  dispose(): void {
    this.#matcher.dispose();
  }
}
