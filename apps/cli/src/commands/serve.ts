import type { Server, ServerStats } from "@jamba/server";
import { type JambaModel, loadModel } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, type FlagValues, loadOptions, numberFlag, splitModel, textFlag, textOf, UsageError } from "../flags.ts";
import { bytesText, coloursFor, loadBar, type Terminal, widthOf } from "../terminal.ts";

const network = { type: "string", group: "network" } as const;
const limit = { type: "string", group: "limits" } as const;

export const serve: Command = {
  words: "[MODEL]",
  summary: "OpenAI's API over HTTP",
  about: `Listens at once; GET /health is 503 until the model is loaded. On a terminal a
line shows what goes on; elsewhere stderr has a JSON line for each request,
without what was asked or answered.`,
  flags: {
    host: { ...network, value: "H", fallback: "127.0.0.1", help: "address to listen at; others need a key" },
    port: { ...network, value: "N", fallback: "8080", help: "0 takes any that is free" },
    alias: { ...network, value: "NAME", help: "the model's id for clients" },
    "api-key": { ...network, value: "KEY", multiple: true, help: "who brings none of these may not ask" },
    "api-key-file": { ...network, value: "FILE", help: "the same, one a line" },
    cors: { ...network, value: "ORIGIN", multiple: true, help: "whose pages may ask from a browser" },
    parallel: { ...limit, value: "N", fallback: "32", help: "answers at the same time; others wait" },
    "max-queue": { ...limit, value: "N", fallback: "64", help: "that may wait; 429 for those beyond" },
    timeout: { ...limit, value: "SECONDS", fallback: "600", help: "that an answer may take" },
    slots: { ...limit, value: "DIR", help: "where /slots saves conversations; off" },
    ...commonFlags,
  },
  notes: `--json prints { url, port, pid } when it listens. Ctrl-C and SIGTERM give what
runs ten seconds to end, then exit with 0; a second one ends it, with 130.`,

  async run({ flags, words }, terminal) {
    const { model: source, rest } = splitModel(words);
    if (rest.length > 0) throw new UsageError(`serve: expected a model at most, found ${JSON.stringify(rest.join(" "))}`);
    const quiet = Boolean(flags.quiet);
    const isLive = Boolean(terminal.stderr.isTTY) && !quiet;
    const apiKeys = await keysOf(flags);
    const seconds = numberFlag(flags, "timeout");
    const { jsonLog, serve } = await import("@jamba/server");
    const log = quiet || isLive ? undefined : jsonLog(terminal.stderr);
    const stop = new AbortController();
    const stopped = new Promise<void>((resolve) => stop.signal.addEventListener("abort", () => resolve()));
    const off = terminal.onInterrupt(() => (stop.signal.aborted ? terminal.exit(130) : stop.abort(new Error("stopped"))), {
      terminate: true,
    });
    let begin!: () => void;
    const loaded = new Promise<void>((resolve) => {
      begin = resolve;
    }).then(() => {
      const limits = { sequences: numberFlag(flags, "parallel") };
      return loadModel(source, { ...loadOptions(flags), limits, signal: stop.signal, onProgress: bar.onProgress }).finally(bar.stop);
    });
    loaded.catch(() => undefined); // met below
    let server: Server | undefined;
    let model: JambaModel | undefined;
    const bar = loadBar(terminal, isLive);
    try {
      // What is wrong with the options shows before anything is loaded.
      server = await serve(loaded, source, {
        host: textFlag(flags, "host"),
        port: numberFlag(flags, "port"),
        alias: textFlag(flags, "alias"),
        apiKeys,
        cors: flags.cors as string[] | undefined,
        maxQueue: numberFlag(flags, "max-queue"),
        requestTimeoutMs: seconds === undefined ? undefined : seconds * 1000,
        slotsDir: textFlag(flags, "slots"),
        log,
      });
      const { url, port } = server;
      if (flags.json) terminal.stdout.write(`${JSON.stringify({ url, port, pid: process.pid })}\n`);
      log?.({ event: "listening", url, port, pid: process.pid, model: source });
      if (isLive) terminal.stderr.write(`${source} at ${coloursFor(terminal.stderr, terminal).cyan(url)}; Ctrl-C stops\n`);
      begin();
      model = await loaded;
      const { name: device, passedOver } = model.device;
      log?.({ event: "loaded", model: source, device, passedOver });
      const live = isLive ? showLive(server, terminal) : undefined;
      await stopped;
      live?.();
      return 0;
    } catch (error) {
      if (stop.signal.aborted) return 0;
      throw error;
    } finally {
      await server?.close();
      await model?.dispose();
      off();
      if (server) log?.({ event: "stopped" });
    }
  },
};

async function keysOf(flags: FlagValues): Promise<string[]> {
  const file = textFlag(flags, "api-key-file");
  const lines = file === undefined ? [] : (await textOf("--api-key-file", file)).split("\n").map((line) => line.trim());
  const listed = lines.filter((line) => line !== "" && !line.startsWith("#"));
  if (file !== undefined && listed.length === 0) throw new UsageError(`--api-key-file: expected a key in a line, found none in ${file}`);
  const given = (flags["api-key"] ?? []) as string[];
  if (given.includes("")) throw new UsageError("--api-key: expected a key, found an empty text");
  return [...given, ...listed];
}

/** @returns what takes the line away */
function showLive(server: Server, terminal: Terminal): () => void {
  const { stderr } = terminal;
  const draw = () => void stderr.write(`\r\u001b[K${liveLine(server.stats(), widthOf(stderr))}`);
  draw();
  const timer = setInterval(draw, 500);
  return () => {
    clearInterval(timer);
    stderr.write("\r\u001b[K");
  };
}

/** In at most `width` columns: what is least needed goes first. */
export function liveLine({ requests, tokensPerSecond, promptTokens, cachedTokens, memory }: ServerStats, width: number): string {
  const { running, waiting, total } = requests;
  const parts = [
    `${running} running${waiting > 0 ? `, ${waiting} waiting` : ""}, ${total} requests`,
    `${tokensPerSecond.toFixed(1)} tokens/s`,
    `cache ${promptTokens === 0 ? "–" : `${((100 * cachedTokens) / promptTokens).toFixed(0)} %`}`,
    `memory ${bytesText(memory.process)}`,
  ];
  while (parts.length > 1 && parts.join("  ").length + 3 > width) parts.pop();
  return `  ${parts.join("  ")}`.slice(0, width - 1);
}
