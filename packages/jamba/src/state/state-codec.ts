// The bytes of a state's file form, hashed piece by piece, so that damage is found wherever it is. Knows no files and no sessions, only
// that these keep something beside a state, and no backend: the parts of a state go in and come out as they are kept, one at a time.
//
//   magic 8 | version u32 | bytes of the header u32 | bytes of the file u64 | SHA-256 of all that and of the header 32 | header, JSON
//   sections one after another, ids and then the parts, each in pieces of at most 4 MiB: SHA-256 32 | values
//
// All little-endian. A piece's hash is over the hash before it, the header's at first, and its values: a piece fits no other place or file.

import { type FloatDtype, JambaError, LoadError, partBytes, ShapeError, type StatePart, type StateSpec, statePartsOf } from "@jamba/core";
import { type ByteSource, hexOf, sha256 } from "@jamba/loader";
import type { Made } from "./tenant.ts";

export interface StateFileHeader {
  /** `fingerprint` of the model; a file of another one is refused. */
  readonly model: string;
  /** `tokenizerFingerprint`, where there is a tokenizer. */
  readonly tokenizer?: string;
  /** By what the bits of the state were made, of which files of version 1 say nothing. */
  readonly made?: Made;
  /** JSON of the caller's. */
  readonly meta?: unknown;
}

export interface StateFile {
  readonly header: StateFileHeader;
  /** The tokens that the state has seen. */
  readonly ids: number[];
  /**
   * In the order of `statePartsOf`, each read and checked when it is pulled: what is never pulled is never checked. Keys and values come in
   * the format that the file has them in, whatever `kvDtype` is. Can be pulled once, while the source is open.
   * @throws LoadError for what is damaged, JambaError OUT_OF_MEMORY, the signal's reason
   */
  readonly parts: AsyncIterableIterator<StatePart, void, undefined>;
}

/** The model that a file is to be for. */
export interface ExpectedState {
  readonly model: string;
  /** What files of version 1 call it, where that is something else. */
  readonly modelBefore?: string;
  readonly tokenizer?: string;
  readonly spec: StateSpec;
  readonly vocabSize: number;
}

export interface EncodedState {
  /** Known before any part is. */
  readonly sizeBytes: number;
  /**
   * The bytes of the file, some MiB at a time; a part is pulled when the one before it has gone out. May be called once.
   * @throws ShapeError when the parts are not those of the ids and the spec, and what the parts throw
   */
  chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>;
}

type Part = Omit<StatePart, "bytes">;

interface Section {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: FloatDtype | "i32";
}

interface Header extends StateFileHeader {
  readonly seen: number;
  readonly sections: readonly Section[];
}

interface Head {
  /** Its sections may be any JSON. */
  readonly header: Header;
  readonly version: number;
  readonly hash: Uint8Array;
  /** Where the sections begin. */
  readonly end: number;
}

/** As in PNG: no text begins so, and what changes ends of lines or the eighth bit shows at once. */
const magic = Uint8Array.of(0x89, 0x4a, 0x4d, 0x42, 0x0d, 0x0a, 0x1a, 0x0a);
/** Files that say what made the state are of version 2. */
const versions = [1, 2];
const hashBytes = 32;
const hashedBytes = 24;
const preludeBytes = hashedBytes + hashBytes;
/** A conversation of 256K tokens has about 1 MiB of text. */
const maxHeaderBytes = 2 ** 24;
const pieceBytes = 2 ** 22;

const idsSection = (seen: number): Section => ({ name: "ids", shape: [seen], dtype: "i32" });
const sectionOf = ({ layer, name, shape, dtype }: Part): Section => ({ name: `${layer}.${name}`, shape, dtype });
const textOf = ({ name, shape, dtype }: Section) => `${name} [${shape.join(", ")}] as ${dtype}`;

const idsBytes = (seen: number) => seen * Int32Array.BYTES_PER_ELEMENT;

/** Of all sections, with their hashes. */
function storedBytes(seen: number, parts: readonly Part[]): number {
  const sizes = [idsBytes(seen), ...parts.map(partBytes)];
  return sizes.reduce((sum, size) => sum + size + hashBytes * Math.ceil(size / pieceBytes), 0);
}

/**
 * Looks at no value: what the file holds follows from `spec` and the number of ids.
 * @param ids the tokens that the state has seen
 * @throws ShapeError for ids that are none, JambaError OPTION for a header that is no JSON or too long
 */
export function encodeState(
  { model, tokenizer, made, meta }: StateFileHeader,
  ids: readonly number[],
  spec: Pick<StateSpec, "layers" | "kvDtype">,
  parts: AsyncIterable<StatePart> | Iterable<StatePart>,
): EncodedState {
  const wrong = ids.find((id) => !(id >= 0 && id < 2 ** 31 && Number.isInteger(id)));
  if (wrong !== undefined) throw new ShapeError(`ids: expected token ids, found ${wrong}`);
  const seen = ids.length;
  const expected = statePartsOf(spec, seen);
  const json = headerBytes({ model, tokenizer, made, meta, seen, sections: [idsSection(seen), ...expected.map(sectionOf)] });
  const sizeBytes = preludeBytes + json.length + storedBytes(seen, expected);

  async function* chunks() {
    const head = await encodeHead(json, sizeBytes, made ? 2 : 1);
    yield head;
    const first = head.slice(hashedBytes, preludeBytes);
    let hash: Uint8Array | undefined = yield* encodePieces(new Uint8Array(Int32Array.from(ids).buffer), first);
    const iterator = Symbol.asyncIterator in parts ? parts[Symbol.asyncIterator]() : parts[Symbol.iterator]();
    try {
      for (let i = 0; hash; i++) hash = yield* encodeNext(iterator, expected[i], hash);
    } finally {
      await iterator.return?.();
    }
  }
  return { sizeBytes, chunks };
}

/**
 * Encodes the next part in a function of its own, which ends before another is pulled: a generator that waits in `for await` or `yield*`
 * still holds the part before, which may be half a GiB.
 * @returns the last hash; undefined when there is no next part, as expected
 */
async function* encodeNext(
  parts: AsyncIterator<StatePart> | Iterator<StatePart>,
  expected: Part | undefined,
  hash: Uint8Array,
): AsyncGenerator<Uint8Array<ArrayBuffer>, Uint8Array | undefined, undefined> {
  const { done, value: part } = await parts.next();
  if (done && !expected) return undefined;
  if (done) throw new ShapeError(`state: expected ${textOf(sectionOf(expected!))}, found no more parts`);
  expectPart(expected, part);
  return yield* encodePieces(part.bytes, hash);
}

function expectPart(expected: Part | undefined, part: StatePart): void {
  const text = expected ? `${textOf(sectionOf(expected))} in ${partBytes(expected)} bytes` : "no more parts";
  const found = `${textOf(sectionOf(part))} in ${part.bytes.byteLength} bytes`;
  if (found !== text) throw new ShapeError(`state: expected ${text}, found ${found}; is it of another model?`);
}

/**
 * The head and the ids are read and checked at once, the parts as they are pulled. Nothing is allocated that the file has no bytes for.
 * @throws LoadError for what is damaged, no state, or of a later version; JambaError SESSION_MISMATCH for a state of another model or
 * tokenizer, OUT_OF_MEMORY
 */
export async function decodeState(source: ByteSource, expected: ExpectedState, signal?: AbortSignal): Promise<StateFile> {
  const { name } = source;
  const { header, ...head } = await readHead(source, signal);
  const { model, tokenizer, made, meta, seen } = header;
  expectSame(name, "model", (head.version === 1 && expected.modelBefore) || expected.model, model);
  if (expected.tokenizer !== undefined && tokenizer !== undefined) expectSame(name, "tokenizer", expected.tokenizer, tokenizer);
  const stored = checkSections(name, header, expected.spec);
  const sizeBytes = head.end + storedBytes(seen, stored);
  if (sizeBytes !== source.size) throw damaged(name, `${sizeBytes} bytes, as its header says`, source.size);

  let { hash, end: at } = head;
  const readBytes = async (section: string, sizeBytes: number): Promise<Uint8Array<ArrayBuffer>> => {
    const where = `${name}: ${section}`;
    const bytes = allocate(where, sizeBytes);
    for (let from = 0; from < sizeBytes; from += pieceBytes) {
      const piece = await source.read(at, hashBytes + Math.min(pieceBytes, sizeBytes - from), signal);
      hash = await checkPiece(where, piece, hash);
      bytes.set(piece.subarray(hashBytes), from);
      at += piece.length;
    }
    return bytes;
  };
  const ids = Array.from(new Int32Array((await readBytes("ids", idsBytes(seen))).buffer));
  const wrong = ids.find((id) => id < 0 || id >= expected.vocabSize);
  if (wrong !== undefined) throw damaged(name, `token ids in [0, ${expected.vocabSize})`, wrong);
  async function* parts() {
    for (const part of stored) yield { ...part, bytes: await readBytes(sectionOf(part).name, partBytes(part)) };
  }
  return { header: { model, tokenizer, made, meta }, ids, parts: parts() };
}

async function readHead(source: ByteSource, signal?: AbortSignal): Promise<Head> {
  const { name, size } = source;
  if (size < preludeBytes) throw damaged(name, `at least ${preludeBytes} bytes`, size);
  const prelude = await source.read(0, preludeBytes, signal);
  if (!same(prelude.subarray(0, magic.length), magic)) {
    const found = `one that begins with ${hexOf(prelude.subarray(0, magic.length))}`;
    throw new LoadError(`${name}: expected a saved state, found another kind of file, ${found}; check the path`);
  }
  const view = new DataView(prelude.buffer, prelude.byteOffset);
  const foundVersion = view.getUint32(8, true);
  if (!versions.includes(foundVersion))
    throw new LoadError(
      `${name}: expected version ${versions.join(" or ")} of the format, found ${foundVersion}; update jamba if a later one saved it, else it is damaged`,
    );
  const total = view.getBigUint64(16, true);
  if (total !== BigInt(size)) throw damaged(name, `${total} bytes, as it says itself`, size);
  const length = view.getUint32(12, true);
  const room = Math.min(maxHeaderBytes, size - preludeBytes);
  if (length > room) throw damaged(name, `a header of at most ${room} bytes`, length);
  const head = await source.read(0, preludeBytes + length, signal);
  const hash = await headHash(head);
  const stored = head.subarray(hashedBytes, preludeBytes);
  if (!same(hash, stored)) throw damaged(name, `a header with SHA-256 ${hexOf(stored)}`, hexOf(hash));
  const { made, ...header } = parseHeader(name, head.subarray(preludeBytes));
  if (foundVersion === 2 && !made) throw damaged(name, "a header that says what made the state", "another one");
  // A field that version 1 does not have means nothing there.
  return { header: foundVersion === 1 ? header : { ...header, made }, version: foundVersion, hash, end: head.length };
}

/** Its hash is right, so what is wrong here was written so. */
function parseHeader(name: string, bytes: Uint8Array): Header {
  let header: Partial<Header> | null;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw damaged(name, "a header in JSON", "something else");
  }
  const { model, tokenizer, made, seen, sections } = header ?? {};
  const isText = typeof model === "string" && (tokenizer === undefined || typeof tokenizer === "string");
  if (!isText || !Number.isSafeInteger(seen) || seen! < 0 || !Array.isArray(sections))
    throw damaged(name, "a header with model, seen and sections", "another one");
  if (made !== undefined && !isMade(made, seen!)) throw damaged(name, "what made the state, token by token", "something else");
  return header as Header;
}

/** Whether it says of all tokens, in their order, what they were made by. */
function isMade(made: unknown, seen: number): made is Made {
  if (!Array.isArray(made)) return false;
  let before = 0;
  for (const one of made) {
    if (!Array.isArray(one) || one.length !== 2) return false;
    const [numerics, tokens] = one;
    if (typeof numerics !== "string" || !Number.isSafeInteger(tokens) || tokens <= before) return false;
    before = tokens;
  }
  return before === seen;
}

function expectSame(name: string, what: string, expected: string, found: string): void {
  if (found === expected) return;
  throw new JambaError(
    "SESSION_MISMATCH",
    `${name}: expected a state of the ${what} ${short(expected)}, found one of ${short(found)}; open it with the ${what} it was saved from`,
  );
}

const short = (fingerprint: string) => JSON.stringify(fingerprint.slice(0, 16));

/**
 * The parts as the file has them: keys and values may be in any format.
 * @throws LoadError unless the file has the sections of `spec`
 */
function checkSections(name: string, { seen, sections }: Header, spec: StateSpec): Part[] {
  const parts = statePartsOf(spec, seen);
  if (sections.length !== parts.length + 1) throw damaged(name, `${parts.length + 1} sections for the model's layers`, sections.length);
  const [ids, ...rest] = sections;
  checkSection(name, ids, idsSection(seen), ["i32"]);
  return parts.map((part, i) => {
    const dtypes: FloatDtype[] = part.name === "k" || part.name === "v" ? ["bf16", "f16", "f32"] : [part.dtype];
    return { ...part, dtype: checkSection(name, rest[i], sectionOf(part), dtypes) };
  });
}

function checkSection<T extends Section["dtype"]>(file: string, found: Partial<Section> | null, { name, shape }: Section, dtypes: T[]): T {
  const text = `${name} [${shape.join(", ")}]`;
  const is = Array.isArray(found?.shape) ? `${found.name} [${found.shape.join(", ")}]` : "none";
  const dtype = dtypes.find((one) => one === found?.dtype);
  if (is !== text || !dtype) throw damaged(file, `${text} as ${dtypes.join(", ")}`, `${is} as ${found?.dtype}`);
  return dtype;
}

function damaged(name: string, expected: string, found: unknown): LoadError {
  return new LoadError(`${name}: expected ${expected}, found ${found}; the file is damaged: use a copy, or save the state again`);
}

async function encodeHead(json: Uint8Array, sizeBytes: number, version: number): Promise<Uint8Array<ArrayBuffer>> {
  const head = new Uint8Array(preludeBytes + json.length);
  const view = new DataView(head.buffer);
  head.set(magic);
  view.setUint32(8, version, true);
  view.setUint32(12, json.length, true);
  view.setBigUint64(16, BigInt(sizeBytes), true);
  head.set(json, preludeBytes);
  head.set(await headHash(head), hashedBytes);
  return head;
}

/**
 * The bytes of a section as they stand in the file: pieces, each its hash and then its values.
 * @returns the last hash, `hash` when there are no bytes
 */
async function* encodePieces(bytes: Uint8Array, hash: Uint8Array): AsyncGenerator<Uint8Array<ArrayBuffer>, Uint8Array, undefined> {
  let before = hash;
  for (let from = 0; from < bytes.length; from += pieceBytes) {
    const values = bytes.subarray(from, from + pieceBytes);
    const piece = new Uint8Array(hashBytes + values.length);
    piece.set(before);
    piece.set(values, hashBytes);
    before = await sha256(piece);
    piece.set(before);
    yield piece;
  }
  return before;
}

/** Puts the hash before it in the place of its own, which it returns. */
async function checkPiece(where: string, piece: Uint8Array, before: Uint8Array): Promise<Uint8Array> {
  const stored = piece.slice(0, hashBytes);
  piece.set(before);
  const found = await sha256(piece);
  if (!same(found, stored)) throw damaged(where, `a piece with SHA-256 ${hexOf(stored)}`, hexOf(found));
  return stored;
}

async function headHash(head: Uint8Array): Promise<Uint8Array> {
  const hashed = new Uint8Array(head.length - hashBytes);
  hashed.set(head.subarray(0, hashedBytes));
  hashed.set(head.subarray(preludeBytes), hashedBytes);
  return sha256(hashed);
}

function headerBytes(header: Header): Uint8Array {
  let json: Uint8Array;
  try {
    json = new TextEncoder().encode(JSON.stringify(header));
  } catch (cause) {
    throw new JambaError("OPTION", "state file: expected a header that is JSON, found what can't be written as such", { cause });
  }
  if (json.length > maxHeaderBytes)
    throw new JambaError("OPTION", `state file: expected a header of at most ${maxHeaderBytes} bytes, found ${json.length}`);
  return json;
}

function allocate(where: string, sizeBytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(sizeBytes);
  } catch (cause) {
    throw new JambaError("OUT_OF_MEMORY", `${where}: no memory for ${sizeBytes} bytes in one piece`, { cause });
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
