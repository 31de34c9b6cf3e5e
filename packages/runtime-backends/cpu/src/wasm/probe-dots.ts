// How fast an engine's relaxed dot product of four is: one instruction on some processors, five on others, where two steps are faster.
// Asked of a module of 270 bytes that is made here, so that the one with these products is fetched only where it is worth that.

import { nextTurn } from "@jamba/core";

/** Independent ones, as a tile of a product has: none waits for the one before. */
const sums = 8;
const [vector, i32] = [123, 127];

/** WebAssembly of two functions, `four` and `two`: (rounds: i32) => i32. */
function probe(): Uint8Array<ArrayBuffer> {
  const section = (id: number, bytes: readonly number[]) => [id, ...leb128(bytes.length), ...bytes];
  const get = (local: number) => [32, local];
  const set = (local: number) => [33, local];
  const simd = (opcode: number) => [253, ...leb128(opcode)];
  const [rounds, factor, first] = [0, 1, 2];
  const loopOf = (step: (sum: number, other: number) => number[]) => {
    const all = Array.from({ length: sums }, (_, j) => j);
    const body = [
      ...[1, 1 + sums, vector],
      ...[65, 3, ...simd(15), ...set(factor)], // i8x16.splat
      ...[3, 64, ...all.flatMap((j) => step(first + j, first + ((j + 1) % sums)))],
      ...[...get(rounds), 65, 1, 107, 34, rounds, 13, 0, 11], // rounds - 1, and on unless it is 0
      ...all.flatMap((j) => [...get(first + j), ...(j > 0 ? simd(0xae) : [])]), // i32x4.add
      ...[...simd(27), 0, 11], // i32x4.extract_lane
    ];
    return [...leb128(body.length), ...body];
  };
  // i32x4.relaxed_dot_i8x16_i7x16_add_s
  const four = loopOf((sum, other) => [...get(factor), ...get(other), ...get(sum), ...simd(0x113), ...set(sum)]);
  // i16x8.relaxed_dot_i8x16_i7x16_s, i16x8.add
  const two = loopOf((sum, other) => [...get(sum), ...get(factor), ...get(other), ...simd(0x112), ...simd(0x8e), ...set(sum)]);
  const name = (text: string) => [text.length, ...new TextEncoder().encode(text)];
  return Uint8Array.from([
    ...[0, 97, 115, 109, 1, 0, 0, 0],
    ...section(1, [1, 96, 1, i32, 1, i32]),
    ...section(3, [2, 0, 0]),
    ...section(7, [2, ...name("four"), 0, 0, ...name("two"), 0, 1]),
    ...section(10, [2, ...four, ...two]),
  ]);
}

function leb128(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb128(value >>> 7)];
}

/** Where nothing becomes faster it was compiled well at once. */
const mostWaits = 8;

type Loop = (rounds: number) => number;

/** Milliseconds, the least first. */
interface Times {
  readonly four: number[];
  readonly two: number[];
}

/**
 * On the thread that asks, in pieces of a tenth of a millisecond, or of a few milliseconds where the clock is coarse.
 * @returns how long sums of four at once take, as a part of what the same sums take in two steps
 */
export async function dotsRatio(): Promise<number> {
  const { instance } = await WebAssembly.instantiate(probe());
  const { four, two } = instance.exports as Record<"four" | "two", Loop>;
  // Clocks of pages that are not isolated tell tenths of a millisecond, or whole ones.
  const rounds = (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === false ? 1_000_000 : 40_000;
  const timed = async (loop: Loop) => {
    await nextTurn();
    const start = performance.now();
    loop(rounds);
    return performance.now() - start;
  };
  const look = async (times: number): Promise<Times> => {
    const found: Times = { four: [], two: [] };
    for (let i = 0; i < times; i++) {
      found.four.push(await timed(four));
      found.two.push(await timed(two));
    }
    for (const list of [found.four, found.two]) list.sort((a, b) => a - b);
    return found;
  };
  const first = await look(2);
  // An engine compiles in haste at first, and well a little later, each function in its own time: before, the two may say the opposite.
  for (let again = 0; again < mostWaits; again++) {
    await new Promise((resolve) => setTimeout(resolve, 4));
    const { four, two } = await look(1);
    if (four[0] < 0.8 * first.four[0] && two[0] < 0.8 * first.two[0]) break;
  }
  const last = await look(5);
  const least = (times: readonly number[]) => times[0] + times[1] + times[2];
  return least(last.four) / least(last.two);
}
