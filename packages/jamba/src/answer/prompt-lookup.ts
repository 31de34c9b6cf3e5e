// Speculation without a second model: what followed an earlier copy of the last tokens is read along with the next one,
// and kept as far as the model agrees (Saxena 2023, "Prompt lookup decoding"; Leviathan et al. 2023, arXiv 2211.17192, for the check).

import type { Sequence } from "../engine/advance.ts";
import type { Opened } from "../engine/calls.ts";
import type { Engine } from "../engine/engine.ts";
import type { Questions, RowEvidence } from "../engine/evidence.ts";

export interface PromptLookup {
  /** Tokens that are tried at a time; 8 if not given. */
  readonly maxTokens?: number;
  /** How many last tokens an earlier copy must share; 3 if not given. */
  readonly ngram?: number;
}

interface Draft {
  /** Has read what the answer has, and `ids`. */
  readonly sequence: Sequence;
  readonly ids: readonly number[];
  /** Of the row after each of `ids`. */
  readonly evidence: readonly RowEvidence[];
  accepted: number;
}

/** Gives what is known of the logits after each token of an answer. The text is the one without drafts: only what the sampler draws counts. */
export class Lookahead {
  readonly #engine: Engine;
  readonly #opened: Opened;
  readonly #options: PromptLookup | undefined;
  #draft: Draft | undefined;
  /** Agreed with, and not read into the sequence of the answer yet. */
  #pending: readonly number[] = [];
  readonly counts = { drafted: 0, accepted: 0 };

  constructor(engine: Engine, opened: Opened, options: PromptLookup | undefined) {
    this.#engine = engine;
    this.#opened = opened;
    this.#options = options;
  }

  /**
   * @param drawn tokens that the answer has and its sequence has not read
   * @param sure tokens that must follow them
   * @param questionsAfter what a draw will want to know after `drawn` and so many more tokens
   * @returns evidence of the row after `drawn`, and of those after each of `sure`
   */
  async next(
    drawn: readonly number[],
    sure: readonly number[],
    questionsAfter: (more: readonly number[]) => Questions,
  ): Promise<readonly RowEvidence[]> {
    const coming = [...drawn, ...sure];
    const known: RowEvidence[] = [];
    while (known.length < coming.length && this.#draft?.ids[this.#draft.accepted] === coming[known.length])
      known.push(this.#accept(this.#draft));
    for (const row of known.slice(0, drawn.length - 1)) row.drawn();
    if (known.length < coming.length) known.push(...(await this.#read(coming.slice(known.length), sure, questionsAfter)));
    return known.slice(-1 - sure.length);
  }

  /** @returns evidence of the rows after `ids`, for those of them that somebody wants: the last one and as many before as there are `sure` */
  async #read(
    rest: readonly number[],
    sure: readonly number[],
    questionsAfter: (more: readonly number[]) => Questions,
  ): Promise<readonly RowEvidence[]> {
    this.dispose();
    const ids = [...this.#pending, ...rest];
    const drafted = this.#options
      ? lookUp([...this.#opened.ids, ...ids], this.#options, this.#engine.roomOf(this.#opened) - ids.length)
      : [];
    this.#pending = [];
    // Guessing may fail where there is no room for it; the answer need not.
    const sequence = drafted.length > 0 ? await this.#engine.copyOf(this.#opened).catch(() => undefined) : undefined;
    const nRows = Math.min(rest.length, 1 + sure.length);
    const questions = Array.from({ length: nRows }, (_, i) => questionsAfter(sure.slice(0, sure.length - nRows + 1 + i)));
    if (!sequence) return this.#engine.advance(this.#opened, ids, questions);
    // One step: the answer itself, and a copy that goes on with the drafts. Nobody drops what a step still reads.
    const [own, rows] = await Promise.allSettled([
      this.#engine.advance(this.#opened, ids, questions),
      this.#engine.guess(
        sequence,
        [...ids, ...drafted],
        drafted.map((_, i) => questionsAfter([...sure, ...drafted.slice(0, i + 1)])),
      ),
    ]);
    if (own.status === "fulfilled" && rows.status === "fulfilled") {
      this.#draft = { sequence, ids: drafted, evidence: rows.value, accepted: 0 };
      this.counts.drafted += drafted.length;
    } else {
      if (rows.status === "fulfilled") for (const row of rows.value) row.drawn();
      this.#engine.drop(sequence);
    }
    if (own.status === "rejected") throw own.reason;
    return own.value;
  }

  /** Gives up what is drafted. */
  dispose(): void {
    if (!this.#draft) return;
    for (const one of this.#draft.evidence) one.drawn();
    this.#pending = this.#draft.ids.slice(0, this.#draft.accepted);
    this.#engine.drop(this.#draft.sequence);
    this.#draft = undefined;
  }

  #accept(draft: Draft): RowEvidence {
    const evidence = draft.evidence[draft.accepted++];
    this.counts.accepted++;
    if (draft.accepted === draft.ids.length) {
      this.#engine.replace(this.#opened, draft.sequence, draft.ids);
      this.#draft = undefined;
    }
    return evidence;
  }
}

/** Up to `room` tokens that followed the latest earlier copy of the last ones of `ids`. */
export function lookUp(ids: readonly number[], { maxTokens = 8, ngram = 3 }: PromptLookup, room: number): readonly number[] {
  const end = ids.length - ngram;
  for (let at = end - 1; at >= 0; at--) {
    let n = 0;
    while (n < ngram && ids[at + n] === ids[end + n]) n++;
    if (n === ngram) return ids.slice(at + ngram, at + ngram + Math.max(0, Math.min(maxTokens, room)));
  }
  return [];
}
