// Random states, and what they are compared by.

import { normal } from "@jamba/conformance";
import { convertPart, type FloatDtype, partBytes, type StatePart, type StateSpec, statePartsOf } from "@jamba/core";

type Layers = StateSpec["layers"];
export type Parts = AsyncIterable<StatePart> | Iterable<StatePart>;

/** A state that has seen `seen` tokens, its keys and values as a backend keeps them in `kvDtype`. */
export function randomState(random: () => number, layers: Layers, seen: number, kvDtype: FloatDtype = "f32"): StatePart[] {
  return statePartsOf({ layers, kvDtype }, seen).map((part) => {
    const values = Float32Array.from({ length: partBytes({ ...part, dtype: "f32" }) / 4 }, () => normal(random));
    return convertPart({ ...part, dtype: "f32", bytes: new Uint8Array(values.buffer) }, part.dtype);
  });
}

/** Every bit of a state, shapes too: NaN, -0 and all. As another format has them, if one is given. */
export async function bitsOf(parts: Parts, dtype?: FloatDtype): Promise<string[]> {
  const bits: string[] = [];
  for await (const part of parts) {
    const { layer, name, shape, bytes, ...kept } = convertPart(part, dtype ?? part.dtype);
    bits.push(`${layer}.${name} ${kept.dtype} [${shape.join(", ")}] ${Buffer.from(bytes).toString("base64")}`);
  }
  return bits;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

export function randomIds(random: () => number, length: number, vocabSize: number): number[] {
  return Array.from({ length }, () => Math.floor(random() * vocabSize));
}
