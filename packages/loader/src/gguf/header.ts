// The header of GGUF files (versions 2 and 3): metadata, tensors, where their bytes are. Hostile until proven otherwise.
// A reader of our own: @huggingface/gguf takes paths and URLs instead of a ByteSource, and trusts the counts that a file claims.

import { LoadError, type StoredDtype } from "@jamba/core";
import { allocate, type ByteSource, isCount } from "../source/byte-source.ts";
import { quote } from "../source/untrusted.ts";
import { ggufTypes } from "./types.ts";

/** An array of 64-bit integers is plain numbers if all are safe integers; an array of booleans is bytes 0 and 1. */
export type GgufArray =
  | string[]
  | number[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

export type GgufValue = number | bigint | boolean | string | GgufArray;

export interface GgufTensor {
  readonly name: string;
  /** Undefined for what can be listed and copied, not computed with. */
  readonly dtype: StoredDtype | undefined;
  /** The format's own spelling: "Q4_K". */
  readonly type: string;
  /** Outermost axis first, the reverse of the file's order. */
  readonly shape: readonly number[];
  /** The file that holds it, without its directory. */
  readonly file: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface GgufHeader {
  readonly file: string;
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** Bytes. */
  readonly alignment: number;
  /** Bytes from the start of the file to the first tensor. */
  readonly dataStart: number;
}

/** By the number of a metadata type; 7 is a boolean. */
const numberArrays = {
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
type NumberType = keyof typeof numberArrays;
const booleanType = 7;
const stringType = 8;
const arrayType = 9;

const firstReadBytes = 2 ** 16;
// A header of Jamba has some 2 MB, most of it 65536 tokens.
const maxHeaderBytes = 100_000_000;
// Jamba Large has some 1100 tensors.
const maxEntries = 100_000;
// Longer strings hash by their length alone in V8, which makes maps of them quadratic.
const maxNameBytes = 4096;
const maxAxes = 4;
const defaultAlignment = 32;
const maxAlignment = 2 ** 20;

interface Cursor {
  readonly file: string;
  /** For errors: the part of the file that is being read. */
  where: string;
  /** The file's first bytes, as many as were needed until here. */
  bytes: Uint8Array;
  view: DataView;
  at: number;
  readonly fileSize: number;
}

/** Thrown to say that the file has to be read up to `end` before its header can be. */
class Short {
  constructor(readonly end: number) {}
}

/**
 * Reads as much of the file as its header takes.
 * @throws LoadError naming file and part when the header breaks a rule of the format, or the file lacks bytes that it lists
 */
export async function parseGgufHeader(source: ByteSource, signal?: AbortSignal): Promise<GgufHeader> {
  const empty = new Uint8Array();
  const cursor: Cursor = {
    file: source.name,
    where: "start",
    bytes: empty,
    view: new DataView(empty.buffer),
    at: 0,
    fileSize: source.size,
  };
  // From the start of `part` again after each read; parts are small, and reads double.
  const read = async <T>(part: () => T): Promise<T> => {
    const start = cursor.at;
    for (;;) {
      try {
        return part();
      } catch (error) {
        if (!(error instanceof Short)) throw error;
        await readOn(cursor, error.end, source, signal);
        cursor.at = start;
      }
    }
  };
  const { version, nTensors, nEntries } = await read(() => readStart(cursor));
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < nEntries; i++) {
    const [key, value] = await read(() => readEntry(cursor, i));
    if (metadata.has(key)) fail(cursor, "a key that no other entry has", "it twice");
    metadata.set(key, value);
  }
  const alignment = alignmentOf(metadata, cursor);
  const listed = new Map<string, GgufTensor>();
  for (let i = 0; i < nTensors; i++) {
    const tensor = await read(() => readTensor(cursor, i, alignment));
    if (listed.has(tensor.name)) fail(cursor, "a name that no other tensor has", "it twice");
    listed.set(tensor.name, tensor);
  }
  const dataStart = Math.ceil(cursor.at / alignment) * alignment;
  const tensors = new Map([...listed].map(([name, tensor]) => [name, { ...tensor, offset: dataStart + tensor.offset }]));
  checkLayout(tensors, cursor);
  return { file: baseName(source.name), version, metadata, tensors, alignment, dataStart };
}

async function readOn(cursor: Cursor, end: number, source: ByteSource, signal?: AbortSignal): Promise<void> {
  const known = cursor.bytes.length;
  const bytes = allocate(cursor.file, Math.min(source.size, Math.max(end, 2 * known, firstReadBytes)));
  bytes.set(cursor.bytes);
  bytes.set(await source.read(known, bytes.length - known, signal), known);
  cursor.bytes = bytes;
  cursor.view = new DataView(bytes.buffer);
}

function fail(cursor: Cursor, expected: string, found: string): never {
  throw new LoadError(`${cursor.file}: ${cursor.where}: expected ${expected}, found ${found}`);
}

/** Steps over `length` bytes, once they are in memory. @returns where they begin */
function take(cursor: Cursor, length: number): number {
  const start = cursor.at;
  const end = start + length;
  if (end > cursor.fileSize) fail(cursor, `${length} bytes at ${start}`, `a file of ${cursor.fileSize} bytes; is the download complete?`);
  if (end > maxHeaderBytes) fail(cursor, `a header of at most ${maxHeaderBytes} bytes`, `${length} bytes at ${start}`);
  if (end > cursor.bytes.length) throw new Short(end);
  cursor.at = end;
  return start;
}

function readU32(cursor: Cursor): number {
  return cursor.view.getUint32(take(cursor, 4), true);
}

/** Beyond 2^53 the number is not exact, and still exceeds every limit that it is compared with. */
function readU64(cursor: Cursor): number {
  return Number(cursor.view.getBigUint64(take(cursor, 8), true));
}

/** What lies where a GGUF file should, by its first four characters. */
const otherFiles: Readonly<Record<string, string>> = {
  vers: "fetch the file with git lfs pull",
  "<!do": "it is a web page; take the link that downloads",
  "<htm": "it is a web page; take the link that downloads",
};

function readStart(cursor: Cursor): { version: number; nTensors: number; nEntries: number } {
  const first = take(cursor, Math.min(4, cursor.fileSize));
  const magic = String.fromCharCode(...cursor.bytes.subarray(first, cursor.at));
  const bigEndian = "a big-endian file; convert it for little-endian machines";
  if (magic !== "GGUF") {
    const hint = otherFiles[magic.toLowerCase()] ?? "is it a GGUF file?";
    fail(cursor, `"GGUF"`, magic === "FUGG" ? bigEndian : `${quote(magic)}; ${hint}`);
  }
  const version = readU32(cursor);
  if (version !== 2 && version !== 3) {
    fail(cursor, "version 2 or 3", version > 0 && version % 2 ** 16 === 0 ? bigEndian : `version ${version}; convert the model again`);
  }
  const nTensors = readU64(cursor);
  const nEntries = readU64(cursor);
  if (nTensors > maxEntries || nEntries > maxEntries) {
    fail(cursor, `at most ${maxEntries} tensors and metadata entries`, `${nTensors} and ${nEntries}; the file is damaged`);
  }
  return { version, nTensors, nEntries };
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function readString(cursor: Cursor): string {
  const length = readU64(cursor);
  const start = take(cursor, length);
  try {
    return utf8.decode(cursor.bytes.subarray(start, start + length));
  } catch {
    return fail(cursor, "UTF-8", `other bytes at ${start}`);
  }
}

function readName(cursor: Cursor): string {
  const start = cursor.at;
  const length = readU64(cursor);
  if (length === 0 || length > maxNameBytes) fail(cursor, `a name of 1 to ${maxNameBytes} bytes`, `${length}`);
  cursor.at = start;
  return readString(cursor);
}

function readEntry(cursor: Cursor, index: number): [key: string, value: GgufValue] {
  cursor.where = `metadata ${index}`;
  const key = readName(cursor);
  cursor.where = `metadata ${quote(key)}`;
  const type = readU32(cursor);
  if (type === stringType) return [key, readString(cursor)];
  if (type === arrayType) return [key, readArray(cursor)];
  const value = readNumbers(cursor, type, 1)[0];
  return [key, type === booleanType ? value === 1 : value];
}

function readArray(cursor: Cursor): GgufArray {
  const type = readU32(cursor);
  const count = readU64(cursor);
  if (type === stringType) return readStrings(cursor, count);
  // ggml reads none either.
  if (type === arrayType) fail(cursor, "an array of plain values", "an array of arrays");
  return readNumbers(cursor, type, count);
}

function readStrings(cursor: Cursor, count: number): string[] {
  const start = cursor.at;
  // Steps over all before any is decoded, so that a decoded one is not thrown away for more bytes, and no count is believed.
  take(cursor, 8 * count);
  cursor.at = start;
  for (let i = 0; i < count; i++) take(cursor, readU64(cursor));
  cursor.at = start;
  return Array.from({ length: count }, () => readString(cursor));
}

function readNumbers(cursor: Cursor, type: number, count: number): number[] | Exclude<GgufArray, string[]> {
  if (!Object.hasOwn(numberArrays, type)) fail(cursor, "a type of metadata from 0 to 12", `${type}`);
  const Numbers = numberArrays[type as NumberType];
  const start = take(cursor, count * Numbers.BYTES_PER_ELEMENT);
  const values = new Numbers(cursor.bytes.slice(start, cursor.at).buffer);
  if (type === booleanType && !(values as Uint8Array).every((value) => value <= 1)) fail(cursor, "booleans 0 and 1", "another byte");
  if (!(values instanceof BigInt64Array || values instanceof BigUint64Array)) return values;
  const numbers = Array.from(values as Iterable<bigint>, Number);
  return numbers.every(Number.isSafeInteger) ? numbers : values;
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, cursor: Cursor): number {
  const found = metadata.get("general.alignment") ?? defaultAlignment;
  cursor.where = "metadata general.alignment";
  if (typeof found !== "number" || found < 1 || found > maxAlignment || !Number.isInteger(Math.log2(found)))
    fail(cursor, `a power of two up to ${maxAlignment}`, quote(String(found)));
  return found;
}

/** With the offset that the file has: from the first tensor on. */
function readTensor(cursor: Cursor, index: number, alignment: number): GgufTensor {
  cursor.where = `tensor ${index}`;
  const name = readName(cursor);
  cursor.where = `tensor ${quote(name)}`;
  const nAxes = readU32(cursor);
  if (nAxes > maxAxes) fail(cursor, `at most ${maxAxes} axes`, `${nAxes}`);
  const shape = Array.from({ length: nAxes }, () => readU64(cursor)).reverse();
  const typeNumber = readU32(cursor);
  const known = ggufTypes[typeNumber];
  if (!known) {
    const names = ggufTypes.flatMap((some) => some?.type ?? []).join(" ");
    return fail(cursor, `one of the types ${names}`, `number ${typeNumber}; is the file newer than this reader?`);
  }
  const { type, dtype, values, bytes } = known;
  const columns = shape.at(-1) ?? 1;
  if (columns % values !== 0) fail(cursor, `rows of whole blocks of ${values} values for ${type}`, `[${shape.join(", ")}]`);
  const sizeBytes = (shape.reduce((size, length) => size * length, 1) / values) * bytes;
  // Each axis is checked, not only their product, which one axis of 0 makes 0.
  if (!shape.every(isCount) || !isCount(sizeBytes)) fail(cursor, "fewer than 2^53 bytes", `[${shape.join(", ")}] ${type}`);
  const offset = readU64(cursor);
  if (!isCount(offset) || offset % alignment !== 0) fail(cursor, `an offset that is a multiple of ${alignment}`, `${offset}`);
  return { name, dtype, type, shape, file: baseName(cursor.file), offset, sizeBytes };
}

/** No byte belongs to two tensors, and none to a tensor that the file is too short for. */
function checkLayout(tensors: ReadonlyMap<string, GgufTensor>, cursor: Cursor): void {
  let end = 0;
  let before = "";
  for (const { name, offset, sizeBytes } of [...tensors.values()].sort((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes)) {
    cursor.where = `tensor ${quote(name)}`;
    if (offset < end) fail(cursor, `it to start after ${before} at ${end}`, `${offset}`);
    end = offset + sizeBytes;
    before = cursor.where;
    if (end > cursor.fileSize) fail(cursor, `it to end within ${cursor.fileSize} bytes`, `${end}; is the download complete?`);
  }
}

function baseName(file: string): string {
  return file.replace(/^.*[/\\]/s, "");
}
