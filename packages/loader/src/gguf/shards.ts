// Models that llama.cpp's gguf-split cut into files of which the first has the metadata.

import { LoadError } from "@jamba/core";
import { quote } from "../source/untrusted.ts";
import type { GgufHeader, GgufTensor } from "./header.ts";

/** All files of the model that `file` is a part of, in order; undefined when its name is not of the form `name-00001-of-00003.gguf`. */
export function ggufShards(file: string): string[] | undefined {
  const [, name, number, count] = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/is.exec(file) ?? [];
  if (number === undefined || Number(number) < 1 || Number(number) > Number(count)) return undefined;
  return Array.from({ length: Number(count) }, (_, i) => `${name}-${String(i + 1).padStart(5, "0")}-of-${count}.gguf`);
}

/**
 * One header for all files of a model: the first one's metadata and everyone's tensors.
 * @param headers in the order of `ggufShards`; one alone for a model that was not split
 * @throws LoadError when a file is missing, in another's place, or of another model
 */
export function joinGgufHeaders(headers: readonly GgufHeader[]): GgufHeader {
  const [first] = headers;
  const tensors = new Map<string, GgufTensor>();
  for (const [i, { file, metadata, tensors: some }] of headers.entries()) {
    const expect = (key: string, expected: unknown, fallback?: unknown) => {
      const found = metadata.get(key) ?? fallback;
      if (found === expected) return;
      const hint = key === "split.tensors.count" ? "is the download complete?" : "pass all files of one model, unrenamed";
      throw new LoadError(`${file}: metadata ${key}: expected ${expected}, found ${found ?? "none"}; ${hint}`);
    };
    expect("split.count", headers.length, headers.length === 1 ? 1 : undefined);
    expect("split.no", i, headers.length === 1 ? 0 : undefined);
    // The others have it only in files that were not made by gguf-split.
    expect("general.architecture", first.metadata.get("general.architecture"), first.metadata.get("general.architecture"));
    const total = headers.reduce((sum, header) => sum + header.tensors.size, 0);
    expect("split.tensors.count", total, headers.length === 1 ? total : undefined);
    for (const [name, tensor] of some) {
      const before = tensors.get(name);
      if (before) throw new LoadError(`${file}: tensor ${quote(name)}: expected it once, found it in ${before.file} too`);
      tensors.set(name, tensor);
    }
  }
  return { ...first, tensors };
}
