// How matvecs are laid out on a device (kernels/parts/sweep.wgsl).

/** Threads of a group, how many of them share rows, and how many rows those share. */
export interface Sweep {
  readonly threads: number;
  readonly lanes: number;
  readonly rows: number;
}

/** Where nothing was measured. */
export const defaultSweep: Sweep = { threads: 64, lanes: 16, rows: 4 };

/** Each lane has a block. */
export function lanesOf(blocks: number, most: number): number {
  return Math.min(most, 2 ** Math.floor(Math.log2(Math.max(4, blocks))));
}
