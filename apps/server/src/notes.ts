// What a request asks for and does not get: told in headers and the log, for clients that would rather go on than be refused.

import type { GenerateOptions, Prompt } from "jamba";
import type { Call } from "./route.ts";

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
 * Compiles what answers are bound to, once it is known that they are possible.
 * @param prompts of the answers; none where there is to be no answer
 * @returns milliseconds that compiling took, which the answer need not wait for again
 * @throws JambaError OPTION for a schema that is wrong or can't be enforced as strictly as it was asked for; as `Service.enter` and `expectFits`
 */
export async function noteLoose(
  { service, exchange }: Pick<Call<unknown>, "service" | "exchange">,
  given: GenerateOptions,
  prompts: readonly Prompt[] = [],
): Promise<number> {
  if (!given.format && !given.tools) return 0;
  const { notes, fieldOf, left, tenant } = exchange;
  const options = { ...given, tenant, signal: left.signal };
  if (prompts.length > 0) exchange.atEnd(service.enter(left.signal, tenant?.name));
  for (const prompt of prompts) await service.expectFits(prompt, options);
  const begun = performance.now();
  notes.notEnforced.push(...(await service.model.notEnforced(options)).map((path) => fieldOf?.(path) ?? path));
  return performance.now() - begun;
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
