// Who may begin: calls wait in line until the tokens and bytes that they may come to hold fit beside those that run.

import { JambaError } from "@jamba/core";
import { inTurn, type Party } from "./turns.ts";

export interface Need {
  readonly tokens: number;
  readonly bytes: number;
}

export interface Limits extends Need {
  readonly sequences: number;
}

/** Who asks, and when it is due among its own. */
export interface Turn extends Party {
  readonly due: number;
}

interface Waiting extends Turn {
  readonly need: Need;
  enter(): void;
  refuse(error: unknown): void;
}

export class Admission {
  readonly #limits: Limits;
  readonly #running = new Set<Need & Party>();
  #line: Waiting[] = [];

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** Of all, or of one tenant. */
  counts(tenant?: string): { running: number; waiting: number } {
    const of = (calls: Iterable<Party>) => {
      let count = 0;
      for (const call of calls) if (tenant === undefined || call.tenant === tenant) count++;
      return count;
    };
    return { running: of(this.#running), waiting: of(this.#line) };
  }

  /**
   * A call that is alone always enters; others in their turns (`inTurn`), none overtaking one that it would fit before.
   * @returns what ends the stay
   */
  async enter(need: Need, turn: Turn, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    const stay = { ...need, ...turn };
    let giveUp!: () => void;
    try {
      await new Promise<void>((enter, refuse) => {
        const waiting = { ...turn, need: stay, enter, refuse };
        giveUp = () => {
          this.#line = this.#line.filter((other) => other !== waiting);
          refuse(signal!.reason);
          this.#callNext();
        };
        this.#line.push(waiting);
        signal?.addEventListener("abort", giveUp);
        this.#callNext();
      });
    } finally {
      signal?.removeEventListener("abort", giveUp);
    }
    return () => {
      if (this.#running.delete(stay)) this.#callNext();
    };
  }

  close(): void {
    const error = new JambaError("DISPOSED", "model: expected an open one, found it disposed");
    for (const { refuse } of this.#line.splice(0)) refuse(error);
  }

  #callNext(): void {
    // Looked at first: with no place free, nobody's turn has come.
    while (this.#line.length > 0 && this.#running.size < this.#limits.sequences) {
      // Each who enters changes whose turn it is, as `inTurn` counts; whoever has the turn is waited for.
      this.#line = inTurn(this.#line, ({ due }) => due, this.#running);
      if (!this.#fits(this.#line[0].need)) return;
      const { need, enter } = this.#line.shift()!;
      this.#running.add(need);
      enter();
    }
  }

  #fits(need: Need): boolean {
    if (this.#running.size === 0) return true;
    const sum = { ...need };
    for (const { tokens, bytes } of this.#running) {
      sum.tokens += tokens;
      sum.bytes += bytes;
    }
    const { sequences, tokens, bytes } = this.#limits;
    return this.#running.size < sequences && sum.tokens <= tokens && sum.bytes <= bytes;
  }
}
