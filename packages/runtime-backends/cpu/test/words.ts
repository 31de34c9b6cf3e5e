// Programs as words, for tests of the addon itself.

import type { LoweringTarget } from "@jamba/core";
import type { Addon } from "../src/addon.ts";

/** As the driver lowers. */
export const target: LoweringTarget = {
  fuses: new Set(["norm into matmul", "swiglu of two matmuls"]),
  alignBytes: 256,
  mostArenaBytes: Number.POSITIVE_INFINITY,
};

export const none = new Int32Array(0);
export const noTemperatures = new Float32Array(0);

/** Where a tensor of f32 or i32 lies in the arena. */
export type Place = readonly [offset: number, stride: number, rows: number, columns: number];

/** Appends commands; places follow each other in the arena. */
export class Words {
  #arena = 0;
  #inputs = 0;
  #commands = 0;
  readonly #words: number[] = [];

  constructor(
    readonly addon: Addon,
    readonly nRows: number,
    readonly L = 1,
  ) {}

  /** `gap`: words between rows that belong to nobody. */
  place(rows: number, columns: number, gap = 0): Place {
    const at: Place = [this.#arena, columns + gap, rows, columns];
    this.#arena += rows * (columns + gap);
    return at;
  }

  command(op: string, ...operands: readonly (number | Place)[]): void {
    this.#commands++;
    this.#words.push(this.addon.ops.indexOf(op), ...operands.flatMap((one) => one as number | number[]));
  }

  input(to: Place): Place {
    this.command("input", this.#inputs++, to);
    return to;
  }

  /** Of one sequence. */
  all(): Int32Array {
    return Int32Array.of(this.L, 1, this.nRows, this.#arena, this.#inputs, this.#commands, ...this.#words);
  }
}
