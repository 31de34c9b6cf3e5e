// States on the local disk: whole or not there at all. Where there is none, as bytes that go to a stream and come from a blob.

import { LoadError, nextTurn, type StatePart, type StateSpec } from "@jamba/core";
import { openBlob, openFile, wholeFile } from "@jamba/loader";
import { decodeState, type EncodedState, type ExpectedState, encodeState, type StateFile, type StateFileHeader } from "./state-codec.ts";

export interface WriteStateOptions {
  readonly signal?: AbortSignal;
  /** Whether what killed processes left of this file is looked for, which reads the whole folder; true if not given. */
  readonly sweep?: boolean;
  readonly onProgress?: (progress: { readonly doneBytes: number; readonly totalBytes: number }) => void;
}

/**
 * Writes a state so that `path` has all of it or what was there before, even after a power cut. Until then it is in
 * `<path>.partial-…`, which only a killed process leaves behind, and the next save to `path` removes.
 * @param path or a stream, which is closed when all is out, and aborted where something fails
 * @param parts of the state that has seen `ids`, in the formats of `spec`
 * @throws what `encodeState`, its chunks and `parts` throw, LoadError where nothing can be written, with DISK_FULL where there is no room, the signal's reason
 */
export async function writeStateFile(
  path: string | WritableStream<Uint8Array>,
  header: StateFileHeader,
  ids: readonly number[],
  spec: Pick<StateSpec, "layers" | "kvDtype">,
  parts: AsyncIterable<StatePart> | Iterable<StatePart>,
  options: WriteStateOptions = {},
): Promise<void> {
  options.signal?.throwIfAborted();
  const encoded = encodeState(header, ids, spec, parts);
  if (typeof path === "string") await writeEncoded(path, encoded, options);
  else await writeTo(path, encoded, options);
}

async function writeTo(
  stream: WritableStream<Uint8Array>,
  { sizeBytes, chunks }: EncodedState,
  { signal, onProgress }: WriteStateOptions,
): Promise<void> {
  const writer = stream.getWriter();
  try {
    let doneBytes = 0;
    for await (const chunk of chunks()) {
      signal?.throwIfAborted();
      await writer.write(chunk);
      doneBytes += chunk.length;
      onProgress?.({ doneBytes, totalBytes: sizeBytes });
    }
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => undefined); // it may be what failed
    throw error;
  }
}

export async function writeEncoded(
  path: string,
  { sizeBytes, chunks }: EncodedState,
  { signal, sweep, onProgress }: WriteStateOptions = {},
): Promise<void> {
  try {
    // It holds what people wrote: for its owner alone.
    await wholeFile(path, { sizeBytes, overwrite: true, mode: 0o600, sweep, signal }, async (write) => {
      let doneBytes = 0;
      for await (const chunk of chunks()) {
        signal?.throwIfAborted();
        await write(chunk);
        doneBytes += chunk.length;
        onProgress?.({ doneBytes, totalBytes: sizeBytes });
      }
    });
  } catch (cause) {
    signal?.throwIfAborted();
    const { code, syscall, message } = cause as NodeJS.ErrnoException;
    if (syscall === undefined) throw cause; // typed, or of `onProgress`
    const isFull = code === "ENOSPC" || code === "EDQUOT";
    throw new LoadError(`${path}: ${message}`, { cause, code: isFull ? "DISK_FULL" : "LOAD" });
  }
}

/** What all numbers of a format have in common that are none: every bit of the exponent. */
const exponents = { f32: [Uint32Array, 0x7f800000], bf16: [Uint16Array, 0x7f80], f16: [Uint16Array, 0x7c00] } as const;

/** Bytes that are looked at in one go. */
const goBytes = 2 ** 22;

async function expectFinite(path: string, { layer, name, dtype, bytes }: StatePart): Promise<void> {
  const [Words, exponent] = exponents[dtype];
  for (let from = 0; from < bytes.byteLength; from += goBytes) {
    if (from > 0) await nextTurn();
    const words = new Words(
      bytes.buffer as ArrayBuffer,
      bytes.byteOffset + from,
      Math.min(goBytes, bytes.byteLength - from) / Words.BYTES_PER_ELEMENT,
    );
    for (let i = 0; i < words.length; i++) {
      if ((words[i] & exponent) !== exponent) continue;
      throw new LoadError(`${path}: ${layer}.${name}: expected finite numbers, found others; the state is of no use`);
    }
  }
}

/** The same parts, each looked at when it is pulled. No generator, which would hold each part until the next one is there. */
function finite(path: string, parts: StateFile["parts"]): StateFile["parts"] {
  const next = async () => {
    const found = await parts.next();
    if (!found.done) await expectFinite(path, found.value);
    return found;
  };
  const checked = { next, return: () => parts.return!(), [Symbol.asyncIterator]: () => checked };
  return checked;
}

/** For errors. */
export function stateName(from: string | Blob): string {
  if (typeof from === "string") return from;
  return "name" in from && typeof from.name === "string" ? from.name : "state";
}

/**
 * Opens a state for as long as `use` takes. Nothing but the head and the ids is checked before `use` pulls the parts: that these are whole,
 * and finite numbers.
 * @throws what `decodeState`, its parts and `use` throw
 */
export async function readStateFile<T>(
  from: string | Blob,
  expected: ExpectedState,
  use: (file: StateFile) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const source = typeof from === "string" ? await openFile(from, { signal }) : openBlob(from, stateName(from));
  try {
    const { parts, ...file } = await decodeState(source, expected, signal);
    return await use({ ...file, parts: finite(source.name, parts) });
  } finally {
    await source.close();
  }
}
