import type { AppOptions, ListenOptions, ServedModels, Server, ServerStats } from "@jamba/server";
import { type LoadOptions, loadModel } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, durationFlag, type FlagValues, loadOptions, numberFlag, sizeFlag, textFlag, textOf, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { bytesText, coloursFor, counted, loadBar, type Terminal, widthOf } from "../terminal.ts";

const network = { type: "string", group: "network" } as const;
const limit = { type: "string", group: "limits" } as const;
const more = { type: "string", group: "more" } as const;
const several = { type: "string", group: "models" } as const;

export const serve: Command = {
  words: "[MODEL …]",
  summary: "OpenAI's API over HTTP",
  about: `GET /health is 503 until the first model is loaded; others come when a request
names them. stderr has a JSON line for each request, on a terminal a summary.`,
  flags: {
    host: { ...network, value: "H", fallback: "127.0.0.1", help: "listens here; others need a key" },
    port: { ...network, value: "N", fallback: "8080", help: "0 takes any that is free" },
    "api-key": { ...network, value: "KEY", multiple: true, help: "who brings none of these may not ask" },
    alias: { ...several, value: "NAME[=MODEL]", multiple: true, help: "a model's id for clients" },
    "idle-unload": { ...several, value: "TIME", help: "after so long unused, such as 10m; off" },
    memory: { ...several, value: "SIZE", help: "for all models, as 12GiB; what is free" },
    states: { ...several, value: "DIR", help: "keeps states that have no room in memory" },
    parallel: { ...limit, value: "N", fallback: "32", help: "answers at the same time; others wait" },
    "max-queue": { ...limit, value: "N", fallback: "64", help: "that may wait; 429 for those beyond" },
    timeout: { ...limit, value: "SECONDS", fallback: "600", help: "that an answer may take" },
    slots: { ...limit, value: "DIR", help: "where /slots saves conversations; off" },
    "api-key-file": { ...more, value: "FILE", help: "keys, one a line" },
    cors: { ...more, value: "ORIGIN", multiple: true, help: "whose pages may ask from a browser" },
    "max-choices": { ...more, value: "N", fallback: "128", help: "answers that one request may ask for" },
    "max-connections": { ...more, value: "N", help: "in all; half of the files that may be open if left out" },
    "max-connections-per-address": { ...more, value: "N", help: "the same for one address; half of these if left out" },
    "save-on-exit": { type: "boolean", group: "more", help: "slots are saved at the end and come back at the next start" },
    "share-cache": { ...more, value: "none|system|all", fallback: "none", help: "what keys find of what others have read" },
    ...commonFlags,
  },
  notes: `--json prints { url, port, pid } when it listens. Ctrl-C and SIGTERM give what
runs ten seconds to end, then exit with 0; a second one ends it, with 130.`,

  async run({ flags, words }, terminal) {
    const sources = await sourcesOf(words);
    const quiet = Boolean(flags.quiet);
    const isLive = Boolean(terminal.stderr.isTTY) && !quiet;
    const { jsonLog } = await import("@jamba/server");
    const log = quiet || isLive ? undefined : jsonLog(terminal.stderr);
    const options = { ...(await listenOptions(flags)), log };
    const stop = new AbortController();
    const stopped = new Promise<void>((resolve) => stop.signal.addEventListener("abort", () => resolve()));
    const off = terminal.onInterrupt(() => (stop.signal.aborted ? terminal.exit(130) : stop.abort(new Error("stopped"))), {
      terminate: true,
    });
    const bar = loadBar(terminal, isLive);
    let isReady = false;
    const stopBar = () => {
      isReady = true;
      bar.stop();
    };
    const load: LoadOptions = {
      ...loadOptions(flags, terminal),
      ...(log && { onWarning: (warning) => log({ warning }) }),
      limits: { sequences: numberFlag(flags, "parallel") },
      cache: { dir: textFlag(flags, "states") },
      // The bar is for whoever waits for the start: a model that comes back later has none.
      onProgress: (progress) => void (isReady || bar.onProgress?.(progress)),
    };
    let serving: Serving | undefined;
    try {
      // What is wrong with the options shows before anything is loaded.
      serving = await (isPlain(sources, flags) ? serveOne : serveSeveral)(sources, { flags, load, options, signal: stop.signal });
      const { url, port, ready } = serving.server;
      if (flags.json) terminal.stdout.write(`${JSON.stringify({ url, port, pid: process.pid })}\n`);
      log?.({ event: "listening", url, port, pid: process.pid, model: sources.length === 1 ? sources[0] : sources });
      if (isLive) terminal.stderr.write(`${sources.join(", ")} at ${coloursFor(terminal.stderr, terminal).cyan(url)}; Ctrl-C stops\n`);
      await Promise.race([ready.finally(stopBar), stopped]);
      const live = isLive && !stop.signal.aborted ? showLive(serving.server, terminal) : undefined;
      await stopped;
      live?.();
      return 0;
    } catch (error) {
      if (stop.signal.aborted) return 0;
      throw error;
    } finally {
      await serving?.close();
      off();
      if (serving) log?.({ event: "stopped" });
    }
  },
};

interface Asked {
  readonly flags: FlagValues;
  readonly load: LoadOptions;
  readonly options: AppOptions & ListenOptions;
  readonly signal: AbortSignal;
}

interface Serving {
  readonly server: Server;
  close(): Promise<void>;
}

/** One model that stays, in all the memory there is. */
async function serveOne([source]: readonly string[], { flags, load, options, signal }: Asked): Promise<Serving> {
  const { serve } = await import("@jamba/server");
  let begin!: () => void;
  const loaded = new Promise<void>((resolve) => {
    begin = resolve;
  }).then(() => loadModel(source, { ...load, signal }));
  const [alias] = aliasesOf([source], flags).get(source)!;
  const server = await serve(loaded, source, { ...options, alias });
  begin();
  loaded.then(
    ({ device }) => options.log?.({ event: "loaded", model: source, device: device.name, passedOver: device.passedOver }),
    () => undefined, // told by the server's `ready`
  );
  return {
    server,
    async close() {
      await server.close();
      await loaded.then(
        (model) => model.dispose(),
        () => undefined,
      );
    },
  };
}

async function serveSeveral(sources: readonly string[], { flags, load, options }: Asked): Promise<Serving> {
  const { serve } = await import("@jamba/server");
  const names = aliasesOf(sources, flags);
  const models: ServedModels = Object.fromEntries(
    sources.map((source) => {
      const [id = source, ...aliases] = names.get(source)!;
      return [id, { ...load, source, aliases }];
    }),
  );
  const server = await serve({
    models,
    memoryBytes: sizeFlag(flags, "memory"),
    idleUnloadMs: durationFlag(flags, "idle-unload"),
    ...options,
  });
  return { server, close: () => server.close() };
}

function isPlain(sources: readonly string[], flags: FlagValues): boolean {
  return (
    sources.length === 1 &&
    !["memory", "idle-unload"].some((name) => flags[name] !== undefined) &&
    ((flags.alias as string[] | undefined)?.length ?? 0) < 2
  );
}

/** @throws UsageError for a word that is no model, and for one that is there twice */
async function sourcesOf(words: readonly string[]): Promise<readonly string[]> {
  const sources = await Promise.all(words.map(modelOf));
  const twice = sources.find((source, i) => sources.indexOf(source) !== i);
  if (twice !== undefined) throw new UsageError(`serve: expected each model once, found ${JSON.stringify(twice)} twice`);
  return sources.length === 0 ? ["tiny"] : sources;
}

/** For each model the names that --alias gives it. @throws UsageError for a name that is no model's, or two models' */
function aliasesOf(sources: readonly string[], flags: FlagValues): ReadonlyMap<string, string[]> {
  const names = new Map(sources.map((source) => [source, [] as string[]]));
  for (const given of (flags.alias ?? []) as string[]) {
    const at = given.indexOf("=");
    const own = at > 0 ? names.get(given.slice(at + 1)) : undefined;
    if (own) own.push(given.slice(0, at));
    else if (sources.length === 1 && given !== "") names.get(sources[0])!.push(given);
    else throw new UsageError(`--alias: expected NAME=MODEL with one of ${sources.join(", ")}, found ${JSON.stringify(given)}`);
  }
  const ids = sources.map((source) => names.get(source)![0] ?? source);
  const twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined) throw new UsageError(`--alias: expected another name for each model, found ${JSON.stringify(twice)} twice`);
  return names;
}

async function listenOptions(flags: FlagValues): Promise<AppOptions & ListenOptions> {
  const seconds = numberFlag(flags, "timeout");
  if (seconds !== undefined && !(seconds >= 0.1 && seconds <= 24 * 86_400))
    throw new UsageError(`--timeout: expected seconds from 0.1 to 24 days, found ${flags.timeout}`);
  return {
    host: textFlag(flags, "host"),
    port: numberFlag(flags, "port"),
    apiKeys: await keysOf(flags),
    cors: flags.cors as string[] | undefined,
    maxQueue: numberFlag(flags, "max-queue"),
    requestTimeoutMs: seconds === undefined ? undefined : Math.round(seconds * 1000),
    maxChoices: numberFlag(flags, "max-choices"),
    maxConnections: numberFlag(flags, "max-connections"),
    maxConnectionsPerAddress: numberFlag(flags, "max-connections-per-address"),
    shareCache: textFlag(flags, "share-cache") as AppOptions["shareCache"],
    slotsDir: textFlag(flags, "slots"),
    saveOnExit: flags["save-on-exit"] as boolean | undefined,
  };
}

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
    `${running} running${waiting > 0 ? `, ${waiting} waiting` : ""}, ${counted(total, "request")}`,
    `${tokensPerSecond.toFixed(1)} tokens/s`,
    `cache ${promptTokens === 0 ? "–" : `${((100 * cachedTokens) / promptTokens).toFixed(0)} %`}`,
    `memory ${bytesText(memory.process)}`,
  ];
  while (parts.length > 1 && parts.join("  ").length + 3 > width) parts.pop();
  return `  ${parts.join("  ")}`.slice(0, width - 1);
}
