// The safetensors format: a length, a JSON header, the tensors' bytes. Headers are hostile until proven otherwise.

import { DtypeError, LoadError, ShapeError } from "@jamba/core";
import { allocate, type ByteSource, isCount } from "../source/byte-source.ts";
import type { TensorInfo } from "../source/tensor-info.ts";
import { quote } from "../source/untrusted.ts";
import { expectEnd, fail, type JsonCursor, readCounts, readObject, readString, takeNull } from "./json-cursor.ts";

const dtypeBits = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E5M2FNUZ: 8,
  F8_E4M3FNUZ: 8,
  U16: 16,
  I16: 16,
  F16: 16,
  BF16: 16,
  U32: 32,
  I32: 32,
  F32: 32,
  U64: 64,
  I64: 64,
  F64: 64,
  C64: 64,
} as const;

/** The format's own spelling. */
export type SafetensorsDtype = keyof typeof dtypeBits;

export interface SafetensorsTensor extends TensorInfo {
  readonly dtype: SafetensorsDtype;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

// The limit of the reference implementation.
const maxHeaderBytes = 100_000_000;
const lengthBytes = 8;
const maxAxes = 8;

/** @throws LoadError naming file and tensor when the header breaks a rule of the format, or the file has other bytes than it lists */
export async function parseSafetensorsHeader(source: ByteSource, signal?: AbortSignal): Promise<SafetensorsHeader> {
  const { name: file, size } = source;
  if (size < lengthBytes) throw new LoadError(`${file}: expected at least ${lengthBytes} bytes, found ${size}; is the download complete?`);
  const first = await source.read(0, lengthBytes, signal);
  const length = Number(new DataView(first.buffer, first.byteOffset).getBigUint64(0, true));
  if (length < 2 || length > Math.min(maxHeaderBytes, size - lengthBytes)) {
    // A file that git-lfs did not fetch starts with "version https://git-lfs".
    const hint = String.fromCharCode(...first) === "version " ? "fetch the file with git lfs pull" : "is it a safetensors file?";
    throw new LoadError(
      `${file}: header: expected a length from 2 to ${Math.min(maxHeaderBytes, size - lengthBytes)} bytes, found ${length}; ${hint}`,
    );
  }
  const bytes = await source.read(lengthBytes, length, signal);
  const header = parseHeader({ text: decode(bytes, file), file, where: "header", at: 0 }, lengthBytes + length);
  checkLayout(header.tensors, lengthBytes + length, size, file);
  return header;
}

function decode(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new LoadError(`${file}: header: expected UTF-8, found other bytes`, { cause });
  }
}

function parseHeader(cursor: JsonCursor, dataStart: number): { tensors: Map<string, SafetensorsTensor>; metadata: Map<string, string> } {
  const tensors = new Map<string, SafetensorsTensor>();
  const metadata = new Map<string, string>();
  if (cursor.text[0] !== "{") fail(cursor, `"{" as the first character`);
  readObject(cursor, (name) => {
    if (name === "__metadata__") {
      cursor.where = "__metadata__";
      if (!takeNull(cursor)) readObject(cursor, (key) => metadata.set(key, readString(cursor)));
    } else {
      cursor.where = `tensor ${quote(name)}`;
      tensors.set(name, readTensor(cursor, name, dataStart));
    }
  });
  expectEnd(cursor);
  return { tensors, metadata };
}

function readTensor(cursor: JsonCursor, name: string, dataStart: number): SafetensorsTensor {
  const found: { dtype?: string; shape?: number[]; data_offsets?: number[] } = {};
  readObject(cursor, (key) => {
    if (key === "dtype") found.dtype = readString(cursor);
    else if (key === "shape") found.shape = readCounts(cursor, "shape", maxAxes);
    else if (key === "data_offsets") found.data_offsets = readCounts(cursor, "data_offsets", 2);
    else fail(cursor, "dtype, shape and data_offsets", quote(key));
  });
  const { dtype, shape, data_offsets: [begin, end] = [] } = found;
  if (dtype === undefined || shape === undefined || end === undefined) {
    return fail(cursor, "dtype, shape and two data_offsets", `only ${Object.keys(found).join(", ") || "nothing"}`);
  }
  if (!isDtype(dtype)) return fail(cursor, `one of the dtypes ${Object.keys(dtypeBits).join(" ")}`, quote(dtype));
  const sizeBytes = byteSize(dtype, shape);
  if (sizeBytes === undefined) return fail(cursor, "a whole number of bytes below 2^53", `[${shape}] ${dtype}`);
  if (end - begin !== sizeBytes) fail(cursor, `${sizeBytes} bytes for [${shape}] ${dtype}`, `data_offsets [${begin}, ${end}]`);
  return { name, dtype, shape, file: cursor.file.replace(/^.*[/\\]/s, ""), offset: dataStart + begin, sizeBytes };
}

function isDtype(text: string): text is SafetensorsDtype {
  return Object.hasOwn(dtypeBits, text);
}

function byteSize(dtype: SafetensorsDtype, shape: readonly number[]): number | undefined {
  let count = 1;
  for (const length of shape) {
    count *= length;
    if (!isCount(count)) return undefined;
  }
  const bits = count * dtypeBits[dtype];
  return isCount(bits) && bits % 8 === 0 ? bits / 8 : undefined;
}

/** Tensors follow each other without a hole from the header to the end of the file, so no byte has two meanings or none. */
function checkLayout(tensors: ReadonlyMap<string, TensorInfo>, dataStart: number, fileSize: number, file: string): void {
  let end = dataStart;
  let before = "the header";
  for (const { name, offset, sizeBytes } of [...tensors.values()].sort((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes)) {
    if (offset !== end) {
      const found = `${offset < end ? "an overlap" : "a hole"}: it starts at ${offset - dataStart}`;
      throw new LoadError(
        `${file}: tensor ${quote(name)}: expected data_offsets to start at ${end - dataStart}, after ${before}, found ${found}`,
      );
    }
    end += sizeBytes;
    before = `tensor ${quote(name)}`;
    if (end > fileSize) {
      throw new LoadError(`${file}: ${before}: expected it to end within ${fileSize} bytes, found ${end}; is the download complete?`);
    }
  }
  if (end !== fileSize)
    throw new LoadError(`${file}: expected the file to end after ${before} at ${end} bytes, found ${fileSize - end} more`);
}

export type UnplacedTensor = Pick<SafetensorsTensor, "name" | "dtype" | "shape" | "sizeBytes">;

export interface NamedTensor extends Omit<UnplacedTensor, "sizeBytes"> {
  readonly bytes: Uint8Array;
}

/**
 * What comes before the bytes of `tensors`, which follow in this order without holes. Padded to a multiple of `alignment` bytes.
 * @throws DtypeError for an unknown dtype, ShapeError when size and shape disagree, LoadError for a name that can't be read back
 */
export function safetensorsHeader(
  tensors: Iterable<UnplacedTensor>,
  metadata?: Readonly<Record<string, string>>,
  alignment = lengthBytes,
): Uint8Array {
  const entries = new Map<string, unknown>(metadata ? [["__metadata__", metadata]] : []);
  let end = 0;
  for (const { name, dtype, shape, sizeBytes } of tensors) {
    if (!isDtype(dtype)) throw new DtypeError(`${name}: expected a safetensors dtype, found ${dtype}`);
    if (entries.has(name) || name === "__metadata__" || name === "__proto__") {
      throw new LoadError(`${quote(name)}: expected a name that no other tensor has, found it taken`);
    }
    if (!shape.every(isCount) || shape.length > maxAxes || byteSize(dtype, shape) !== sizeBytes) {
      throw new ShapeError(`${name}: expected the bytes of [${shape}] ${dtype}, found ${sizeBytes}`);
    }
    entries.set(name, { dtype, shape, data_offsets: [end, end + sizeBytes] });
    end += sizeBytes;
  }
  const utf8 = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const size = Math.ceil((lengthBytes + utf8.length) / alignment) * alignment;
  const header = new Uint8Array(size).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(size - lengthBytes), true);
  header.set(utf8, lengthBytes);
  return header;
}

/**
 * A whole safetensors file; wide dtypes come first, so that every tensor is aligned to its own.
 * @throws DtypeError for an unknown dtype, ShapeError when bytes and shape disagree, LoadError for a name that can't be read back
 */
export function writeSafetensors(tensors: Iterable<NamedTensor>, metadata?: Readonly<Record<string, string>>): Uint8Array {
  // An unknown dtype sorts anywhere; the header refuses it.
  const sorted = [...tensors].sort((a, b) => (dtypeBits[b.dtype] ?? 0) - (dtypeBits[a.dtype] ?? 0));
  const header = safetensorsHeader(
    sorted.map(({ bytes, ...tensor }) => ({ ...tensor, sizeBytes: bytes.length })),
    metadata,
  );
  const file = allocate(
    "safetensors file",
    sorted.reduce((sum, { bytes }) => sum + bytes.length, header.length),
  );
  file.set(header);
  let offset = header.length;
  for (const { bytes } of sorted) {
    file.set(bytes, offset);
    offset += bytes.length;
  }
  return file;
}
