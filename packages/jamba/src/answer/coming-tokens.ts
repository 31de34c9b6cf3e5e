// The tokens of an answer as they come: those that a format leaves no choice about, and rows of logits to draw the others from.

import { nextTurn } from "@jamba/core";
import type { Questions, RowEvidence } from "../engine/evidence.ts";
import type { Constraint } from "../format/constraint.ts";
import type { Lookahead } from "./prompt-lookup.ts";

export interface ComingOptions {
  readonly ahead: Lookahead;
  readonly constraint: Constraint | undefined;
  /** What the first token is drawn from. */
  readonly first: RowEvidence;
  /** Whether a row is wanted for each token, forced ones too. */
  readonly everyRow: boolean;
  /** Whether the answer may end at any token, which its state must not have read beyond. */
  readonly mayEndAnywhere: boolean;
}

/** What must come next, or the row to draw it from; with `everyRow` the row in any case. */
export interface Next {
  readonly id?: number;
  readonly row?: RowEvidence;
}

/**
 * Forced tokens are read along with the next one that is drawn. Where their rows are wanted they are read before they are given out; where
 * the answer might then end among them, all tokens are drawn.
 */
export class ComingTokens {
  readonly #options: ComingOptions;
  readonly #forces: boolean;
  /** Of the rows that come next, as far as they are wanted. */
  #rows: readonly RowEvidence[];
  /** Tokens of the answer that are not read yet. */
  #unread: number[] = [];
  /** Forced, and not given out yet. */
  #sure: readonly number[] = [];
  /** Given out without being drawn. */
  forced = 0;

  constructor(options: ComingOptions) {
    this.#options = options;
    this.#forces = !(options.everyRow && options.mayEndAnywhere);
    this.#rows = [options.first];
  }

  /** @param most tokens that the answer may have */
  async begin(most: number): Promise<void> {
    if (!this.#options.everyRow) await this.#force(most);
  }

  /** Whether forced tokens are read that must be given out. */
  get isBound(): boolean {
    return this.#sure.length > 0 && this.#options.everyRow;
  }

  take(): Next {
    const [row] = this.#rows;
    if (row) this.#rows = this.#rows.slice(1);
    const id = this.#sure.at(0);
    if (id === undefined) return { row };
    this.#sure = this.#sure.slice(1);
    this.forced++;
    return { id, row };
  }

  /** A token was drawn. @throws JambaError OPTION for one that can't come */
  async draw(id: number): Promise<void> {
    await this.#options.constraint?.accept(id);
    this.#unread.push(id);
  }

  /**
   * Finds out what comes behind the tokens that were given out, if there is nothing left to give.
   * @param most tokens that the answer may have yet
   * @param questionsAfter what a draw will want to know after these tokens and so many more
   */
  async goOn(most: number, questionsAfter: (more: readonly number[]) => Questions): Promise<void> {
    const { ahead, everyRow } = this.#options;
    if (this.#sure.length > 0 || this.#rows.length > 0) return;
    // The last one of an answer is not read.
    await this.#force(everyRow ? most - 1 : most);
    if (this.#sure.length > 0 && !everyRow) return;
    const read = ahead.next(this.#unread, this.#sure, questionsAfter);
    this.#unread = [];
    this.#rows = await this.#besideMask(read);
  }

  /** Nobody wants the rows that are left. */
  end(): void {
    for (const row of this.#rows) row.drawn();
    this.#rows = [];
  }

  async #force(most: number): Promise<void> {
    const { constraint, everyRow } = this.#options;
    if (!constraint || !this.#forces || most <= 0) return;
    this.#sure = (await constraint.forced()).slice(0, most);
    for (const id of this.#sure) await constraint.accept(id);
    if (this.#sure.length === 0 || everyRow) return;
    this.#unread.push(...this.#sure);
    this.end();
  }

  /** Without a signal: a step cut in the middle would lose the state of the whole conversation. */
  async #besideMask(read: Promise<readonly RowEvidence[]>): Promise<readonly RowEvidence[]> {
    const { constraint } = this.#options;
    if (constraint) {
      read.catch(() => undefined); // thrown where it is awaited
      await nextTurn();
      constraint.prepare(); // while the step runs
    }
    return read;
  }
}
