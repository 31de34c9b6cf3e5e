// The streams and signals of a program, so that tests can stand in for them.

import type { Readable, Writable } from "node:stream";
import cliProgress from "cli-progress";
import type { LoadProgress } from "jamba";
import pc from "picocolors";

export interface Terminal {
  readonly stdin: Readable & { isTTY?: boolean };
  readonly stdout: Writable & { isTTY?: boolean; columns?: number };
  readonly stderr: Writable & { isTTY?: boolean; columns?: number };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  /** @param options.terminate SIGTERM too. @returns a function that takes the handler off again */
  onInterrupt(handler: () => void, options?: { terminate?: boolean }): () => void;
  exit(code: number): void;
}

/** Colours for a stream: on a terminal, unless NO_COLOR says otherwise. */
export function coloursFor(stream: Terminal["stdout"], { env }: Terminal) {
  return pc.createColors(Boolean(stream.isTTY) && !env.NO_COLOR && env.TERM !== "dumb");
}

/** Columns of a stream that people look at; 80 where it does not say. */
export function widthOf(stream: Terminal["stdout"]): number {
  return Math.max(40, Math.min(200, stream.columns ?? 80));
}

/** Lines of whole words, none longer than `width` unless a word is. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Indented lines for who reads: on a terminal of whole words, what goes on indented more; elsewhere one line each. */
export function below(texts: readonly string[], stream: Terminal["stderr"]): string {
  const width = stream.isTTY ? widthOf(stream) - 4 : Number.POSITIVE_INFINITY;
  return texts.flatMap((text) => wrapped(text, width).map((line, i) => `${i === 0 ? "  " : "    "}${line}\n`)).join("");
}

/** "1 question", "2 questions" */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** @param since milliseconds of the epoch */
export function sinceText(since: number, now = Date.now()): string {
  const seconds = Math.max(0, (now - since) / 1000);
  const units = [
    ["year", 31_557_600],
    ["month", 2_629_800],
    ["day", 86_400],
    ["hour", 3600],
    ["minute", 60],
  ] as const;
  const [unit, length] = units.find(([, length]) => seconds >= length) ?? [];
  return unit === undefined ? "just now" : `${counted(Math.floor(seconds / length!), unit)} ago`;
}

export function bytesText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

/** Runs `body` to its exit code. An interrupt aborts its signal, and the code is 130; a second one ends the process. */
export async function interruptible(terminal: Terminal, body: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const stop = new AbortController();
  const off = terminal.onInterrupt(() => (stop.signal.aborted ? terminal.exit(130) : stop.abort(new Error("interrupted"))));
  try {
    return await body(stop.signal);
  } catch (error) {
    if (stop.signal.aborted) return 130;
    throw error;
  } finally {
    off();
  }
}

/** A bar on stderr while a model loads, if somebody is looking. */
export function loadBar({ stderr }: Terminal, shown: boolean): { onProgress?: (progress: LoadProgress) => void; stop(): void } {
  if (!shown || !stderr.isTTY) return { stop: () => undefined };
  const bar = new cliProgress.SingleBar({
    stream: stderr as NodeJS.WritableStream,
    format: "{bar} {percentage}% {what}",
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
    barCompleteChar: "█",
    barIncompleteChar: "░",
  });
  let [started, fetching] = [false, false];
  return {
    onProgress({ phase, doneBytes, totalBytes, file }) {
      // Files are checked while others are fetched: the bar shows that once all are there.
      if (phase === "verify" && fetching) return;
      fetching = phase === "download" && doneBytes < totalBytes;
      const verbs = {
        download: `${bytesText(doneBytes)} of ${bytesText(totalBytes)}, `,
        verify: "checking ",
        load: "",
        quantise: "quantising ",
        calibrate: "reading ",
      };
      const what = `${verbs[phase]}${file}`;
      if (!started) bar.start(totalBytes, 0, { what });
      started = true;
      bar.setTotal(totalBytes); // one bar may see several things done
      bar.update(doneBytes, { what });
    },
    stop: () => bar.stop(),
  };
}
