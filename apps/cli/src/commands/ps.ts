import type { Command } from "../cli.ts";
import { commonFlags, FailedError, textFlag, UsageError } from "../flags.ts";
import { table } from "../table.ts";
import { bytesText, coloursFor, sinceText } from "../terminal.ts";

/** Longer than any server of this machine takes, shorter than patience. */
const timeoutMs = 5000;

interface Entry {
  readonly id: string;
  readonly loaded?: boolean;
  readonly loading?: boolean;
  /** Unix seconds. */
  readonly last_used?: number;
  readonly memory_bytes?: number;
}

export const ps: Command = {
  words: "",
  summary: "the models of a server that runs",
  about: "Asks a jamba serve which models it has, and which of them are loaded.",
  flags: {
    url: { type: "string", value: "URL", fallback: "http://127.0.0.1:8080", help: "where it listens" },
    "api-key": { type: "string", value: "KEY", help: "if it wants one" },
    json: commonFlags.json,
    quiet: commonFlags.quiet,
    help: commonFlags.help,
  },
  notes: "Where nothing listens it says so, and the exit code is 0: nothing runs.",

  async run({ flags, words }, terminal) {
    if (words.length > 0) throw new UsageError(`ps: expected no words, found ${words.join(" ")}; the server is given as --url`);
    const url = addressOf(textFlag(flags, "url") ?? "http://127.0.0.1:8080");
    const entries = await ask(url, textFlag(flags, "api-key"));
    const { stdout } = terminal;
    if (flags.json) {
      stdout.write(`${JSON.stringify({ url, running: entries !== undefined, models: entries ?? [] })}\n`);
      return 0;
    }
    if (entries === undefined) {
      stdout.write(`not running: nothing listens at ${url}\n`);
      if (!flags.quiet)
        terminal.stderr.write(`${coloursFor(terminal.stderr, terminal).dim("  jamba serve MODEL starts a server; --url names another")}\n`);
      return 0;
    }
    const rows = entries.map((entry) => [entry.id, stateOf(entry), memoryOf(entry), usedOf(entry)]);
    stdout.write(table(["model", "state", ">memory", "used"], rows, coloursFor(stdout, terminal).bold));
    return 0;
  },
};

function stateOf({ loaded, loading }: Entry): string {
  return loading ? "loading" : loaded === false ? "not loaded" : "loaded";
}

function memoryOf({ memory_bytes: bytes }: Entry): string {
  return bytes === undefined ? "" : bytesText(bytes);
}

function usedOf({ last_used: seconds }: Entry): string {
  return seconds === undefined ? "never" : sinceText(seconds * 1000);
}

/** @throws UsageError */
function addressOf(given: string): string {
  const text = /^https?:\/\//.test(given) ? given : `http://${given}`;
  if (!URL.canParse(text))
    throw new UsageError(`--url: expected the address of a server such as http://127.0.0.1:8080, found ${JSON.stringify(given)}`);
  return text.replace(/\/+(v1\/*)?$/, "");
}

/** Undefined where nothing listens. @throws FailedError for an answer that is none of a server of models */
async function ask(url: string, key: string | undefined): Promise<readonly Entry[] | undefined> {
  const fail = (found: string) => new FailedError("SERVER", `${url}: expected the models of a server, found ${found}`);
  let response: Response;
  try {
    const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
    response = await fetch(`${url}/v1/models`, { headers, signal: AbortSignal.timeout(timeoutMs) });
  } catch (error) {
    const { name, message, cause } = error as Error & { cause?: { code?: string; message?: string } };
    if (cause?.code === "ECONNREFUSED") return undefined;
    throw fail(name === "TimeoutError" ? `no answer within ${timeoutMs / 1000} s` : cause?.message || cause?.code || message);
  }
  if (response.status === 401 || response.status === 403)
    throw fail(`${response.status}: ${key === undefined ? "it wants a key; give it as --api-key" : "it does not take this --api-key"}`);
  const json = (await response.json().catch(() => undefined)) as { data?: unknown } | undefined;
  const isEntry = (entry: unknown) => typeof (entry as Entry | null)?.id === "string";
  if (!response.ok || !Array.isArray(json?.data) || !json.data.every(isEntry))
    throw fail(`another answer (${response.status}); what listens there?`);
  return json.data as Entry[];
}
