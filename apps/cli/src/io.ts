// What the program touches of the outside. Tests pass their own.

import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import picocolors from "picocolors";

export type Terminal = Writable & { readonly isTTY?: boolean; readonly columns?: number };

export interface Io {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Terminal;
  readonly stderr: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Stdin is a socket: programs that start us often leave theirs open without writing, a shell's pipe ends. */
  readonly stdinMayStayOpen: boolean;
  /** Calls `listener` on each Ctrl-C. Returns how to stop that. */
  onInterrupt(listener: () => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** Where a command's words go. Everything but `text` and `document` is stderr's. */
export interface Output {
  readonly json: boolean;
  /** Neither notes nor a progress bar are wanted. */
  readonly silent: boolean;
  /** Stdout is a terminal: pictures and colours are welcome there. */
  readonly pictures: boolean;
  readonly colors: ReturnType<typeof picocolors.createColors>;
  /** Columns, within what layouts are made for. */
  readonly width: number;
  /** To stdout, unless it is kept for the JSON document. Waits while a slow reader catches up. */
  text(text: string): Promise<void>;
  /** The one JSON document. */
  document(value: unknown): Promise<void>;
  /** A dim line. */
  note(line: string): void;
}

export function openOutput(io: Io, { json = false, quiet = false }: { json?: boolean; quiet?: boolean }, signal: AbortSignal): Output {
  const pictures = io.stdout.isTTY === true && !json;
  const silent = json || quiet;
  const write = async (text: string) => {
    if (!io.stdout.write(text)) await once(io.stdout, "drain", { signal }).catch(() => undefined);
  };
  return {
    json,
    silent,
    pictures,
    colors: colorsOf(io, io.stdout),
    width: widthOf(io.stdout),
    text: async (text) => {
      if (!json && text !== "") await write(text);
    },
    document: (value) => write(`${JSON.stringify(value)}\n`),
    note: (line) => {
      if (!silent) io.stderr.write(`${colorsOf(io, io.stderr).dim(line)}\n`);
    },
  };
}

export function colorsOf({ env }: Pick<Io, "env">, stream: Terminal): ReturnType<typeof picocolors.createColors> {
  return picocolors.createColors(stream.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb");
}

/** 80 where nobody knows; layouts hold from 40 to 200. */
export function widthOf(stream: Terminal): number {
  return Math.min(200, Math.max(40, stream.columns || 80));
}
