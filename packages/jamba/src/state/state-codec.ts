// The bytes of a state's file form, hashed in parts, so that damage is found wherever it is. Knows no files and no sessions, only that
// these keep something beside a state, and no backend: keys and values take the fewest bytes that lose nothing.
//
//   magic 8 | version u32 | bytes of the header u32 | bytes of the file u64 | SHA-256 of all that and of the header 32 | header, JSON
//   sections one after another, each in parts of at most 4 MiB: SHA-256 32 | values
//
// All little-endian. A part's hash is over the hash before it, the header's at first, and its values: a part fits no other place or file.

import {
  checkState,
  decodeFloats,
  type FloatDtype,
  floatBytes,
  fromF16,
  type HostLayerState,
  type HostState,
  HostTensor,
  JambaError,
  LoadError,
  ShapeError,
  type StateSpec,
  toF16,
} from "@jamba/core";
import { type ByteSource, hexOf, sha256 } from "@jamba/loader";

export interface StateFileHeader {
  /** `fingerprint` of the model; a file of another one is refused. */
  readonly model: string;
  /** `tokenizerFingerprint`, where there is a tokenizer. */
  readonly tokenizer?: string;
  /** JSON of the caller's. */
  readonly meta?: unknown;
}

export interface StateFile {
  readonly header: StateFileHeader;
  /** The tokens that `state` has seen. */
  readonly ids: number[];
  readonly state: HostState;
}

/** The model that a file is to be for. */
export interface ExpectedState {
  readonly model: string;
  readonly tokenizer?: string;
  readonly spec: StateSpec;
  readonly vocabSize: number;
}

export interface EncodedState {
  readonly sizeBytes: number;
  /** The bytes of the file, some MiB at a time; may be called again. */
  chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>>;
}

type Values = Float32Array | Int32Array;
type Dtype = FloatDtype | "i32";

interface Section {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: Dtype;
}

interface PlannedSection extends Omit<Section, "dtype"> {
  /** A file has one of them. */
  readonly dtypes: readonly Dtype[];
}

interface Header extends StateFileHeader {
  readonly seen: number;
  readonly sections: readonly Section[];
}

interface Head {
  /** Its sections may be any JSON. */
  readonly header: Header;
  readonly hash: Uint8Array;
  /** Where the sections begin. */
  readonly end: number;
}

/** As in PNG: no text begins so, and what changes ends of lines or the eighth bit shows at once. */
const magic = Uint8Array.of(0x89, 0x4a, 0x4d, 0x42, 0x0d, 0x0a, 0x1a, 0x0a);
const version = 1;
const hashBytes = 32;
const hashedBytes = 24;
const preludeBytes = hashedBytes + hashBytes;
/** A conversation of 256K tokens has about 1 MiB of text. */
const maxHeaderBytes = 2 ** 24;
const partBytes = 2 ** 22;
/** Values looked at before others get the thread. */
const pieceValues = 2 ** 22;

const dtypeBytes = (dtype: Dtype) => (dtype === "i32" ? 4 : floatBytes[dtype]);
const countOf = ({ shape }: Pick<Section, "shape">) => shape.reduce((a, b) => a * b, 1);
const sizeOf = (section: Section) => countOf(section) * dtypeBytes(section.dtype);
const storedBytes = (sections: readonly Section[]) =>
  sections.reduce((sum, section) => sum + sizeOf(section) + hashBytes * Math.ceil(sizeOf(section) / partBytes), 0);

/** What a file holds, in order. */
function sectionsOf({ layers }: Pick<StateSpec, "layers">, seen: number): PlannedSection[] {
  const kv = (name: string, shape: number[]): PlannedSection => ({ name, shape, dtypes: ["bf16", "f16", "f32"] });
  const exact = (name: string, shape: number[]): PlannedSection => ({ name, shape, dtypes: ["f32"] });
  const ofLayer = (layer: StateSpec["layers"][number], i: number): PlannedSection[] => {
    if (layer.kind === "attention") {
      const shape = [layer.nKvHeads, seen, layer.headDim];
      return [kv(`${i}.k`, shape), kv(`${i}.v`, shape)];
    }
    const { dInner, dConv, dState } = layer;
    return [exact(`${i}.conv`, [dInner, dConv - 1]), exact(`${i}.h`, [dInner, dState])];
  };
  return [{ name: "ids", shape: [seen], dtypes: ["i32"] }, ...layers.flatMap(ofLayer)];
}

/**
 * @param ids the tokens that `state` has seen
 * @throws ShapeError for a state or ids that do not hold together, JambaError OPTION for a header that is no JSON or too long
 */
export async function encodeState(given: StateFileHeader, ids: readonly number[], state: HostState): Promise<EncodedState> {
  const layers = state.layers.map(layerOf);
  checkState({ layers, pageTokens: 1, kvDtype: "f32" }, ids.length, state);
  const wrong = ids.find((id) => !(id >= 0 && id < 2 ** 31 && Number.isInteger(id)));
  if (wrong !== undefined) throw new ShapeError(`ids: expected token ids, found ${wrong}`);
  const values: Values[] = [Int32Array.from(ids), ...state.layers.flatMap(tensorsOf).map(({ data }) => data as Float32Array)];
  const sections: Section[] = [];
  for (const [i, { name, shape, dtypes }] of sectionsOf({ layers }, ids.length).entries())
    sections.push({ name, shape, dtype: dtypes.length === 1 ? dtypes[0] : await smallestExact(values[i] as Float32Array) });
  const { model, tokenizer, meta } = given;
  const json = headerBytes({ model, tokenizer, meta, seen: ids.length, sections });
  const sizeBytes = preludeBytes + json.length + storedBytes(sections);

  async function* chunks() {
    const head = new Uint8Array(preludeBytes + json.length);
    const view = new DataView(head.buffer);
    head.set(magic);
    view.setUint32(8, version, true);
    view.setUint32(12, json.length, true);
    view.setBigUint64(16, BigInt(sizeBytes), true);
    head.set(json, preludeBytes);
    let hash = await headHash(head);
    head.set(hash, hashedBytes);
    yield head;
    for (const [i, { dtype }] of sections.entries()) {
      const perPart = partBytes / dtypeBytes(dtype);
      for (let from = 0; from < values[i].length; from += perPart) {
        const part = await encodePart(values[i].subarray(from, from + perPart), dtype, hash);
        hash = part.slice(0, hashBytes);
        yield part;
      }
    }
  }
  return { sizeBytes, chunks };
}

/**
 * Nothing is allocated that the file has no bytes for, and nothing is given out before every byte was checked.
 * @throws LoadError for what is damaged, no state, or of a later version; JambaError SESSION_MISMATCH for a state of another model or
 * tokenizer, OUT_OF_MEMORY
 */
export async function decodeState(source: ByteSource, expected: ExpectedState, signal?: AbortSignal): Promise<StateFile> {
  const { name } = source;
  const { header, ...head } = await readHead(source, signal);
  const { model, tokenizer, meta, seen } = header;
  expectSame(name, "model", expected.model, model);
  if (expected.tokenizer !== undefined && tokenizer !== undefined) expectSame(name, "tokenizer", expected.tokenizer, tokenizer);
  const sections = checkSections(name, header, expected.spec);
  const sizeBytes = head.end + storedBytes(sections);
  if (sizeBytes !== source.size) throw damaged(name, `${sizeBytes} bytes, as its header says`, source.size);

  let { hash, end: at } = head;
  const readValues = async (section: Section): Promise<Values> => {
    const values = allocate(name, section);
    const sizeBytes = sizeOf(section);
    for (let from = 0; from < sizeBytes; from += partBytes) {
      const length = Math.min(partBytes, sizeBytes - from);
      const part = await source.read(at, hashBytes + length, signal);
      hash = await checkPart(`${name}: ${section.name}`, part, hash);
      values.set(decodeValues(part.subarray(hashBytes), section.dtype), from / dtypeBytes(section.dtype));
      at += part.length;
    }
    return values;
  };
  const [first, ...rest] = sections;
  const ids = Array.from(await readValues(first));
  const wrong = ids.find((id) => id < 0 || id >= expected.vocabSize);
  if (wrong !== undefined) throw damaged(name, `token ids in [0, ${expected.vocabSize})`, wrong);
  const tensors: HostTensor[] = [];
  for (const section of rest) tensors.push(new HostTensor("float32", (await readValues(section)) as Float32Array, section.shape));
  const layers = expected.spec.layers.map(({ kind }, i): HostLayerState => {
    const [one, two] = tensors.slice(2 * i);
    return kind === "mamba" ? { kind, conv: one, h: two } : { kind, k: one, v: two };
  });
  return { header: { model, tokenizer, meta }, ids, state: { seen, layers } };
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
  if (foundVersion !== version)
    throw new LoadError(
      `${name}: expected version ${version} of the format, found ${foundVersion}; update jamba if a later one saved it, else it is damaged`,
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
  return { header: parseHeader(name, head.subarray(preludeBytes)), hash, end: head.length };
}

/** Its hash is right, so what is wrong here was written so. */
function parseHeader(name: string, bytes: Uint8Array): Header {
  let header: Partial<Header> | null;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw damaged(name, "a header in JSON", "something else");
  }
  const { model, tokenizer, seen, sections } = header ?? {};
  const isText = typeof model === "string" && (tokenizer === undefined || typeof tokenizer === "string");
  if (!isText || !Number.isSafeInteger(seen) || seen! < 0 || !Array.isArray(sections))
    throw damaged(name, "a header with model, seen and sections", "another one");
  return header as Header;
}

function expectSame(name: string, what: string, expected: string, found: string): void {
  if (found === expected) return;
  throw new JambaError(
    "SESSION_MISMATCH",
    `${name}: expected a state of the ${what} ${short(expected)}, found one of ${short(found)}; open it with the ${what} it was saved from`,
  );
}

const short = (fingerprint: string) => JSON.stringify(fingerprint.slice(0, 16));

/** @throws LoadError unless the file has the sections of `spec` */
function checkSections(name: string, { seen, sections }: Header, spec: StateSpec): Section[] {
  const wanted = sectionsOf(spec, seen);
  if (sections.length !== wanted.length) throw damaged(name, `${wanted.length} sections for the model's layers`, sections.length);
  return wanted.map(({ name: section, shape, dtypes }, i) => {
    const found: Partial<Section> | null = sections[i];
    const text = `${section} [${shape.join(", ")}]`;
    const is = Array.isArray(found?.shape) ? `${found.name} [${found.shape.join(", ")}]` : "none";
    const dtype = dtypes.find((one) => one === found?.dtype);
    if (is !== text || !dtype) throw damaged(name, `${text} as ${dtypes.join(", ")}`, `${is} as ${found?.dtype}`);
    return { name: section, shape, dtype };
  });
}

function damaged(name: string, expected: string, found: unknown): LoadError {
  return new LoadError(`${name}: expected ${expected}, found ${found}; the file is damaged: use a copy, or save the state again`);
}

/** The part as it stands in the file: its hash, then its values. */
async function encodePart(values: Values, dtype: Dtype, before: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const part = new Uint8Array(hashBytes + values.length * dtypeBytes(dtype));
  part.set(before);
  encodeValues(values, dtype, part.subarray(hashBytes));
  part.set(await sha256(part));
  return part;
}

/** Puts the hash before it in the place of its own, which it returns. */
async function checkPart(where: string, part: Uint8Array, before: Uint8Array): Promise<Uint8Array> {
  const stored = part.slice(0, hashBytes);
  part.set(before);
  const found = await sha256(part);
  if (!same(found, stored)) throw damaged(where, `a part with SHA-256 ${hexOf(stored)}`, hexOf(found));
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

/** bf16 and f16 cost the same; what a backend keeps in one of them comes out of it as f32 and goes back without a loss. */
async function smallestExact(values: Float32Array): Promise<FloatDtype> {
  for (const dtype of ["bf16", "f16"] as const) if (await every(values, dtype === "bf16" ? areBf16 : areF16)) return dtype;
  return "f32";
}

async function every(values: Float32Array, holds: (piece: Float32Array) => boolean): Promise<boolean> {
  for (let from = 0; from < values.length; from += pieceValues) {
    if (!holds(values.subarray(from, from + pieceValues))) return false;
    if (from + pieceValues < values.length) await new Promise((resolve) => setTimeout(resolve));
  }
  return true;
}

function areBf16(values: Float32Array): boolean {
  const words = wordsOf(values);
  let low = 0;
  for (let i = 0; i < words.length; i++) low |= words[i];
  return (low & 0xffff) === 0;
}

function areF16(values: Float32Array): boolean {
  return values.every((v) => fromF16(toF16(v)) === v); // no NaN, whose bits would change
}

function wordsOf({ buffer, byteOffset, length }: Values): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length);
}

function encodeValues(values: Values, dtype: Dtype, target: Uint8Array): void {
  if (dtypeBytes(dtype) === 4) {
    target.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return;
  }
  const halves = new Uint16Array(target.buffer, target.byteOffset, values.length);
  const words = wordsOf(values);
  for (let i = 0; i < values.length; i++) halves[i] = dtype === "bf16" ? words[i] >>> 16 : toF16(values[i]);
}

function decodeValues(bytes: Uint8Array, dtype: Dtype): Values {
  return dtype === "i32" ? new Int32Array(bytes.slice().buffer) : decodeFloats(bytes, dtype);
}

function allocate(name: string, section: Section): Values {
  try {
    return section.dtype === "i32" ? new Int32Array(countOf(section)) : new Float32Array(countOf(section));
  } catch (cause) {
    throw new JambaError("OUT_OF_MEMORY", `${name}: ${section.name}: no memory for ${countOf(section)} values in one piece`, { cause });
  }
}

function layerOf(layer: HostLayerState): StateSpec["layers"][number] {
  if (layer.kind === "attention") return { kind: "attention", nKvHeads: layer.k.dims[0], headDim: layer.k.dims[2] };
  return { kind: "mamba", dInner: layer.h.dims[0], dState: layer.h.dims[1], dConv: layer.conv.dims[1] + 1 };
}

function tensorsOf(layer: HostLayerState): HostTensor[] {
  return layer.kind === "mamba" ? [layer.conv, layer.h] : [layer.k, layer.v];
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
