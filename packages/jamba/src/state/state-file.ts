// States on the local disk: whole or not there at all.

import { LoadError, type StatePart, type StateSpec } from "@jamba/core";
import { openFile, wholeFile } from "@jamba/loader";
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
 * @param parts of the state that has seen `ids`, in the formats of `spec`
 * @throws what `encodeState`, its chunks and `parts` throw, LoadError where nothing can be written, with DISK_FULL where there is no room, the signal's reason
 */
export async function writeStateFile(
  path: string,
  header: StateFileHeader,
  ids: readonly number[],
  spec: Pick<StateSpec, "layers" | "kvDtype">,
  parts: AsyncIterable<StatePart> | Iterable<StatePart>,
  options: WriteStateOptions = {},
): Promise<void> {
  options.signal?.throwIfAborted();
  await writeEncoded(path, encodeState(header, ids, spec, parts), options);
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

/**
 * Opens a state for as long as `use` takes. Nothing but the head and the ids is checked before `use` pulls the parts.
 * @throws what `decodeState`, its parts and `use` throw
 */
export async function readStateFile<T>(
  path: string,
  expected: ExpectedState,
  use: (file: StateFile) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const source = await openFile(path, { signal });
  try {
    return await use(await decodeState(source, expected, signal));
  } finally {
    await source.close();
  }
}
