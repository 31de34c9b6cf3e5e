// Writes GGUF files for tests, rightly or as wrongly as asked: nothing is checked.

import { type ByteSource, byteSource } from "../src/source/byte-source.ts";

const arrays = {
  0: Uint8Array,
  1: Int8Array,
  2: Uint16Array,
  3: Int16Array,
  4: Uint32Array,
  5: Int32Array,
  6: Float32Array,
  7: Uint8Array,
  10: BigUint64Array,
  11: BigInt64Array,
  12: Float64Array,
};

export const types = { u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, text: 8, u64: 10, i64: 11, f64: 12 } as const;
type TypeName = keyof typeof types;
type Scalar = number | bigint | boolean | string;

export interface Entry {
  readonly type: number;
  readonly bytes: Uint8Array;
}

export interface Tensor {
  readonly name: string;
  /** ggml's number. */
  readonly type: number;
  /** In the file's order. */
  readonly ne: readonly (number | bigint)[];
  /** After the tensor before, when absent. */
  readonly offset?: number | bigint;
  readonly data?: Uint8Array;
}

export const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
export const u64 = (value: number | bigint): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
const sized = (text: string | Uint8Array) => {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  return joined([u64(bytes.length), bytes]);
};

function encode(type: TypeName, values: readonly Scalar[]): Uint8Array {
  if (type === "text") return joined(values.map((value) => sized(value as string)));
  if (type === "u64" || type === "i64") return new Uint8Array(BigInt64Array.from(values as number[], BigInt).buffer);
  const numbers = new arrays[types[type]](values.length) as Uint8Array;
  numbers.set(values.map(Number));
  return new Uint8Array(numbers.buffer as ArrayBuffer);
}

export const value = (type: TypeName, scalar: Scalar): Entry => ({ type: types[type], bytes: encode(type, [scalar]) });
export const list = (type: TypeName, values: readonly Scalar[]): Entry => ({
  type: 9,
  bytes: joined([u32(types[type]), u64(values.length), encode(type, values)]),
});

export interface Gguf {
  readonly magic?: string;
  readonly version?: number;
  readonly entries?: Readonly<Record<string, Entry>>;
  readonly tensors?: readonly Tensor[];
  readonly alignment?: number;
  readonly nTensors?: number | bigint;
  readonly nEntries?: number | bigint;
}

export function ggufFile({
  magic = "GGUF",
  version = 3,
  entries = {},
  tensors = [],
  alignment = 32,
  ...counts
}: Gguf): Uint8Array<ArrayBuffer> {
  const padded = (bytes: Uint8Array) => joined([bytes, new Uint8Array((alignment - (bytes.length % alignment)) % alignment)]);
  const pairs = Object.entries(entries);
  const parts = [
    new TextEncoder().encode(magic),
    u32(version),
    u64(counts.nTensors ?? tensors.length),
    u64(counts.nEntries ?? pairs.length),
    ...pairs.flatMap(([key, { type, bytes }]) => [sized(key), u32(type), bytes]),
  ];
  let end = 0;
  const data: Uint8Array[] = [];
  for (const tensor of tensors) {
    parts.push(sized(tensor.name), u32(tensor.ne.length), ...tensor.ne.map(u64), u32(tensor.type), u64(tensor.offset ?? end));
    data.push(padded(tensor.data ?? new Uint8Array()));
    end += data.at(-1)!.length;
  }
  return joined([padded(joined(parts)), ...data]);
}

export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The bytes as a file that counts what was read of it. */
export function memorySource(
  bytes: Uint8Array,
  name = "models/m.gguf",
  size = bytes.length,
): ByteSource & { readonly reads: [offset: number, length: number][] } {
  const reads: [number, number][] = [];
  const fill = async (target: Uint8Array, offset: number) => {
    reads.push([offset, target.length]);
    target.set(bytes.subarray(offset, offset + target.length));
  };
  return { ...byteSource({ name, size, fill }), reads };
}
