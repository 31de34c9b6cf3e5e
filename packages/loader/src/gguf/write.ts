// The header of a GGUF file to be written (version 3). What the metadata means is not known here.

import { blockFormats, isBlockDtype, LoadError, ShapeError, type StoredDtype, storedBytes } from "@jamba/core";
import { quote } from "../source/untrusted.ts";
import type { GgufValue } from "./header.ts";
import { ggufTypes } from "./types.ts";

export interface UnplacedGgufTensor {
  readonly name: string;
  readonly dtype: StoredDtype;
  /** Outermost axis first. */
  readonly shape: readonly number[];
}

export interface PlacedGguf {
  /** All that comes before the first tensor. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** Bytes from the start of the file to each tensor; what lies between them is zeros. */
  readonly offsets: readonly number[];
  /** Of the whole file. */
  readonly sizeBytes: number;
}

const defaultAlignment = 32;

/**
 * Whole numbers become u32 where they fit, others f32: what readers of GGUF expect of single numbers.
 * @throws LoadError for a name that two tensors have, ShapeError for rows that are no whole number of blocks
 */
export function placeGguf(metadata: ReadonlyMap<string, GgufValue>, tensors: readonly UnplacedGgufTensor[]): PlacedGguf {
  const alignment = (metadata.get("general.alignment") as number | undefined) ?? defaultAlignment;
  const align = (size: number) => Math.ceil(size / alignment) * alignment;
  const out = writer();
  out.raw(utf8.encode("GGUF"));
  out.u32(3);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, value] of metadata) {
    out.text(key);
    writeValue(out, value);
  }
  const starts: number[] = [];
  const names = new Set<string>();
  let end = 0;
  for (const { name, dtype, shape } of tensors) {
    if (names.has(name)) throw new LoadError(`${quote(name)}: expected a name that no other tensor has, found it taken`);
    names.add(name);
    const sizeBytes = storedBytes(
      dtype,
      shape.reduce((a, b) => a * b, 1),
    );
    if (isBlockDtype(dtype) && (shape.at(-1) ?? 1) % blockFormats[dtype].values !== 0)
      throw new ShapeError(`${name}: expected rows of whole blocks of ${dtype}, found [${shape.join(", ")}]`);
    out.text(name);
    out.u32(shape.length);
    for (const length of [...shape].reverse()) out.u64(length);
    out.u32(ggufTypes.findIndex((type) => type?.dtype === dtype));
    out.u64(end);
    starts.push(end);
    end = align(end + sizeBytes);
  }
  const header = out.bytes(align);
  return { header, offsets: starts.map((start) => header.length + start), sizeBytes: header.length + end };
}

type Writer = ReturnType<typeof writer>;

const utf8 = new TextEncoder();

function writer() {
  const pieces: Uint8Array[] = [];
  const raw = (bytes: Uint8Array) => pieces.push(bytes);
  const number = (sizeBytes: number, put: (view: DataView) => void) => {
    const view = new DataView(new ArrayBuffer(sizeBytes));
    put(view);
    raw(new Uint8Array(view.buffer));
  };
  const u64 = (n: number | bigint) => number(8, (view) => view.setBigUint64(0, BigInt(n), true));
  return {
    raw,
    number,
    u64,
    u32: (n: number) => number(4, (view) => view.setUint32(0, n, true)),
    text(text: string) {
      const bytes = utf8.encode(text);
      u64(bytes.length);
      raw(bytes);
    },
    bytes(align: (size: number) => number): Uint8Array<ArrayBuffer> {
      const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
      const all = new Uint8Array(align(size));
      let at = 0;
      for (const piece of pieces) {
        all.set(piece, at);
        at += piece.length;
      }
      return all;
    },
  };
}

/** The format's numbers of metadata types. */
const types = { u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10, i64: 11, f64: 12 };

/** Little-endian, as every machine that this runs on. */
const arrays = [
  [Uint8Array, types.u8],
  [Int8Array, types.i8],
  [Uint16Array, types.u16],
  [Int16Array, types.i16],
  [Uint32Array, types.u32],
  [Int32Array, types.i32],
  [Float32Array, types.f32],
  [Float64Array, types.f64],
  [BigUint64Array, types.u64],
  [BigInt64Array, types.i64],
] as const;

function writeValue(out: Writer, value: GgufValue): void {
  if (typeof value === "string") {
    out.u32(types.string);
    out.text(value);
  } else if (typeof value === "boolean") {
    out.u32(types.bool);
    out.raw(Uint8Array.of(value ? 1 : 0));
  } else if (typeof value === "object") {
    writeArray(out, value);
  } else if (typeof value === "bigint") {
    out.u32(value < 0n ? types.i64 : types.u64);
    out.u64(BigInt.asUintN(64, value));
  } else if (!Number.isSafeInteger(value)) {
    out.u32(types.f32);
    out.number(4, (view) => view.setFloat32(0, value, true));
  } else if (value >= 0 && value < 2 ** 32) {
    out.u32(types.u32);
    out.u32(value);
  } else {
    writeValue(out, BigInt(value));
  }
}

function writeArray(out: Writer, value: Extract<GgufValue, object>): void {
  out.u32(types.array);
  if (Array.isArray(value) && (value.length === 0 || typeof value[0] === "string")) {
    out.u32(types.string);
    out.u64(value.length);
    for (const text of value as string[]) out.text(text);
    return;
  }
  const numbers = Array.isArray(value) ? BigInt64Array.from(value as number[], BigInt) : value;
  out.u32(arrays.find(([Numbers]) => numbers instanceof Numbers)![1]);
  out.u64(numbers.length);
  out.raw(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
}
