// The command in this process, with streams and a Ctrl-C that tests hold.

import { PassThrough, Readable } from "node:stream";
import { main } from "../src/cli.ts";

export interface Options {
  input?: string;
  tty?: boolean;
  columns?: number;
  env?: Record<string, string>;
  /** Called with what stdout has so far, and what Ctrl-C does. */
  onOutput?: (text: string, interrupt: () => void) => void;
  /** The same for stderr. */
  onError?: (text: string, interrupt: () => void) => void;
  /** Ctrl-C at the first moment. */
  interrupted?: boolean;
}

export async function jamba(args: string[], { input = "", tty = false, columns, env = {}, onOutput, onError, interrupted }: Options = {}) {
  const collect = () => {
    const stream = Object.assign(new PassThrough(), { isTTY: tty, columns });
    let text = "";
    stream.on("data", (piece) => {
      text += piece;
    });
    return { stream, text: () => text };
  };
  const [stdout, stderr] = [collect(), collect()];
  const handlers: (() => void)[] = [];
  const exits: number[] = [];
  const interrupt = () => [...handlers].forEach((handler) => void handler());
  if (onError) stderr.stream.on("data", () => onError(stderr.text(), interrupt));
  if (onOutput) stdout.stream.on("data", () => onOutput(stdout.text(), interrupt));
  const code = await main(args, {
    stdin: Object.assign(Readable.from(input === "" ? [] : [input]), { isTTY: false }),
    stdout: stdout.stream,
    stderr: stderr.stream,
    env,
    version: "1.2.3",
    onInterrupt(handler) {
      handlers.push(handler);
      if (interrupted) handler();
      return () => handlers.splice(handlers.indexOf(handler), 1);
    },
    exit: (exit) => exits.push(exit),
  });
  return { code, stdout: stdout.text(), stderr: stderr.text(), exits };
}
