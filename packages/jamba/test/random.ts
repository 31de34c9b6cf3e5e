// Chance that comes back with its seed.

import { seeded } from "@jamba/conformance";

/** Whole numbers from 0 up to, and without, what is asked for. */
export function randomOf(seed: number): (below: number) => number {
  const uniform = seeded(seed);
  return (below) => Math.floor(uniform() * below);
}
