// What may come next in an answer, token by token: formats and tool calls over the tokens of one model.

import { JambaError, LoadError } from "@jamba/core";
import type { Grammar, Matcher, Vocabulary } from "@jamba/grammar";
import type { Tokenizer } from "@jamba/tokenizer";
import type { Tenant } from "../state/tenant.ts";
import { CompiledFormat } from "./compiled-format.ts";
import { type AnswerSpec, type Format, tags } from "./format.ts";
import type { AnswerTokens } from "./format-grammar.ts";
import { PlainTexts } from "./plain-texts.ts";
import { takeText } from "./take-text.ts";

/** What may come next in one answer. An answer that `maxTokens` cuts is the beginning of one that fits. */
export interface Constraint extends Pick<Matcher, "allowed" | "prepare" | "forced" | "accept" | "rollback" | "ended" | "dispose"> {
  /** What it leaves open of schemas that are not strict, see `JambaModel.notEnforced`. */
  readonly notEnforced: readonly string[];
  /** Milliseconds until it was there: next to none where the same format was compiled before. */
  readonly openMs: number;
}

export interface CompileOptions {
  /** Finds what its own calls have compiled, unless it shares all. */
  readonly tenant?: Tenant;
  readonly signal?: AbortSignal;
}

/** Most answers are bound to no format. The code that binds one, more than the rest of the package, is fetched by the first that is. @throws LoadError */
async function fetched<T>(code: Promise<T>): Promise<T> {
  return code.catch((cause: Error) => {
    throw new LoadError(`format: expected the code that binds answers to be there, found: ${cause.message}; is the network gone?`, {
      cause,
    });
  });
}

const writing = () => fetched(import("./format-grammar.ts"));

/** Formats over one vocabulary, which is read when `prepare` is called or the first format is opened. */
export class Constraints {
  readonly #tokenizer: Tokenizer;
  readonly #stopIds: readonly number[];
  readonly #texts: PlainTexts;
  readonly #tokens: AnswerTokens;
  #vocabulary: Promise<Vocabulary> | undefined;
  #isDisposed = false;

  constructor(tokenizer: Tokenizer, stopIds: Iterable<number>) {
    this.#tokenizer = tokenizer;
    this.#stopIds = [...stopIds].filter((id) => id < tokenizer.vocabSize);
    this.#texts = new PlainTexts(tokenizer);
    const idOf = (tag: string) => this.#texts.controlOf(tag);
    const notInText = new Set([...this.#stopIds, ...tags.map(idOf)]);
    this.#tokens = { idOf, inText: this.#texts.controlIds.filter((id) => !notInText.has(id)) };
  }

  /** Begins to read the vocabulary, on a thread of its own where the place has some. */
  prepare(): void {
    if (this.#stopIds.length > 0) this.#open().catch(() => undefined); // whoever opens a format tries again
  }

  /**
   * @param given what the answer has already; `thoughts` is about where this begins
   * @returns undefined where everything is allowed
   * @throws JambaError OPTION for a format or choice that is wrong or can't be enforced, or that no answer with this prefix fits;
   * UNSUPPORTED for a model without a stop token, DISPOSED; LoadError where its code can't be fetched; the signal's reason when aborted
   */
  async open(whole: AnswerSpec, { given = "", ...options }: { given?: string } & CompileOptions = {}): Promise<Constraint | undefined> {
    const begun = performance.now();
    const { boundPart } = await writing();
    const { spec, prefix } = boundPart(whole, given);
    const compiled = await this.#compile(spec, options);
    if (!compiled) return undefined;
    const matcher = await compiled.start();
    try {
      await expectBeginning(matcher, prefix, this.#texts);
    } catch (error) {
      matcher.dispose();
      throw error;
    }
    const openMs = performance.now() - begun;
    return Object.assign(matcher, { notEnforced: [...compiled.reasons.keys()], openMs });
  }

  /** @throws as `open` */
  async compile(format: Format, signal?: AbortSignal): Promise<CompiledFormat> {
    return new CompiledFormat((await this.#compile({ format }, { signal }))!, this.#texts);
  }

  /** What answers are not bound to. Nothing waits for this afterwards: it is compiled then. @throws as `open` */
  async notEnforced(spec: AnswerSpec, options?: CompileOptions): Promise<readonly string[]> {
    return [...((await this.#compile(spec, options))?.reasons.keys() ?? [])];
  }

  /** @returns undefined where everything is allowed */
  async #compile(spec: AnswerSpec, { tenant, signal }: CompileOptions = {}): Promise<Grammar | undefined> {
    const { answerGrammar } = await writing();
    const grammar = answerGrammar(spec, this.#tokens);
    const owner = tenant?.shares === "all" ? undefined : tenant?.name;
    return grammar && (await this.#open()).compile({ ...grammar, owner }, { signal });
  }

  async #open(): Promise<Vocabulary> {
    if (this.#stopIds.length === 0)
      throw new JambaError(
        "UNSUPPORTED",
        "format: expected a model with an end-of-text token, found none in its config; there is no way to end",
      );
    // A call that waited for the code would open what nobody closes.
    if (this.#isDisposed) throw new JambaError("DISPOSED", "model: expected an open one, found it disposed");
    this.#vocabulary ??= this.#read();
    this.#vocabulary.catch(() => {
      this.#vocabulary = undefined;
    });
    return this.#vocabulary;
  }

  async #read(): Promise<Vocabulary> {
    const { Vocabulary } = await fetched(import("@jamba/grammar"));
    const texts = this.#texts;
    return new Vocabulary({
      size: this.#tokenizer.vocabSize,
      textOf: (id) => texts.textOf(id),
      isControl: (id) => texts.isControl(id),
      stopIds: this.#stopIds,
      encode: (text) => texts.encode(text),
    });
  }

  /** Constraints that are open go no further. */
  async dispose(): Promise<void> {
    this.#isDisposed = true;
    const vocabulary = await this.#vocabulary?.catch(() => undefined);
    await vocabulary?.dispose();
  }
}

/** Moves on by a text. @throws JambaError OPTION where an answer can't begin with it, and where it stops to fit */
async function expectBeginning(matcher: Matcher, text: string, texts: PlainTexts): Promise<void> {
  const { fits } = await takeText(matcher, text, texts);
  if (fits < text.length) throw unfit(text, fits);
}

function unfit(text: string, fits: number): JambaError {
  const chars = 40;
  const [before, behind] = [text.slice(Math.max(0, fits - chars), fits), text.slice(fits, fits + chars)].map((part) =>
    JSON.stringify(part),
  );
  return new JambaError(
    "OPTION",
    `continueFinalMessage: expected words that an answer of this format or with these tools can begin with, found ${behind} behind the first ${fits} characters, which fit and end with ${before}; what binds an answer binds the words that it goes on from too`,
  );
}
