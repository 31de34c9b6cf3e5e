// What a request asks for and does not get: told in headers and the log, for clients that would rather go on than be refused.

import type { GenerateOptions, Model } from "jamba";

export interface Notes {
  /** Keywords of schemas that are not strict, as paths of fields. */
  readonly notEnforced: string[];
  /** Paths of fields, each with its kind. */
  readonly leftOut: string[];
}

/** Proxies refuse headers of more than some kilobytes. */
const longest = 2000;

/** Names an option of the engine as the field of a request, where the request has a word of its own for it. */
export type FieldOf = (path: string) => string | undefined;

/**
 * @returns milliseconds that compiling took, which the answer need not wait for again
 * @throws JambaError OPTION for a schema that is wrong or can't be enforced as strictly as it was asked for
 */
export async function noteLoose(notes: Notes, model: Model, options: GenerateOptions, fieldOf: FieldOf): Promise<number> {
  const begun = performance.now();
  notes.notEnforced.push(...(await model.notEnforced(options)).map((path) => fieldOf(path) ?? path));
  return options.format || options.tools ? performance.now() - begun : 0;
}

/** The names of headers, all of which a page may read. */
export const noteHeaders = { notEnforced: "x-jamba-not-enforced", leftOut: "x-jamba-left-out" } as const;

/** Headers that are needed, by name: lists with a comma and a space between, where each part is percent-encoded as far as it must be. */
export function headersOf(notes: Notes): [name: string, value: string][] {
  return (["notEnforced", "leftOut"] as const)
    .filter((kind) => notes[kind].length > 0)
    .map((kind) => [noteHeaders[kind], listed(notes[kind])]);
}

function listed(parts: readonly string[]): string {
  const encoded = parts.map((part) => part.toWellFormed().replace(/[^ -~]|[%,]/gu, encodeURIComponent));
  let size = 0;
  const kept = encoded.filter((part) => {
    size += part.length + 2;
    return size <= longest;
  });
  const more = encoded.length - kept.length;
  return [...kept, ...(more > 0 ? [`and ${more} more`] : [])].join(", ");
}
