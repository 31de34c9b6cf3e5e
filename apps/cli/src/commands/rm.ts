import { createInterface } from "node:readline";
import { listCached, removeCached } from "@jamba/loader";
import type { Command } from "../cli.ts";
import { commonFlags, FailedError, textFlag, UsageError } from "../flags.ts";
import { hubIdOf } from "../model-word.ts";
import { bytesText, coloursFor, type Terminal } from "../terminal.ts";

export const rm: Command = {
  words: "MODEL …",
  summary: "take a downloaded model from this disk",
  about: `MODEL is what jamba list shows: a repository, or one file of it as
OWNER/NAME:FILE.gguf. Nothing outside the cache is touched, and what other
models of the cache share with it stays.`,
  flags: {
    yes: { type: "boolean", short: "y", help: "without asking" },
    "cache-dir": { type: "string", value: "DIR", help: "instead of HF_HUB_CACHE and what stands for it" },
    json: commonFlags.json,
    quiet: commonFlags.quiet,
    help: commonFlags.help,
  },

  async run({ flags, words }, terminal) {
    if (words.length === 0) throw new UsageError("rm: expected a model, found none; jamba list shows which there are");
    const cacheDir = textFlag(flags, "cache-dir");
    const ids = new Set(await Promise.all(words.map((word) => namedBy(word))));
    const sizes = new Map((await listCached({ cacheDir })).map(({ id, sizeBytes }) => [id, sizeBytes]));
    // All of them before the first is gone.
    for (const id of ids)
      if (!sizes.has(id.replace(/:.*/s, "")))
        throw new FailedError("LOAD", `${id}: expected it among the downloaded models, found none; see jamba list`);
    const removed = [];
    for (const id of ids) {
      const wanted = flags.yes || (await confirmed(id, sizes.get(id), terminal));
      if (wanted === undefined) return 130;
      if (!wanted) continue;
      const { freedBytes, sharedBytes, outside } = await removeCached(id, { cacheDir });
      removed.push({ id, freedBytes, sharedBytes, outside });
      if (flags.quiet || flags.json) continue;
      const shared = sharedBytes > 0 ? `, ${bytesText(sharedBytes)} stay for models that share them` : "";
      const left = outside === undefined ? "" : `; it was a link, and ${outside} stays`;
      terminal.stderr.write(coloursFor(terminal.stderr, terminal).dim(`  ${id}: ${bytesText(freedBytes)} free again${shared}${left}\n`));
    }
    if (flags.json) terminal.stdout.write(`${JSON.stringify({ removed })}\n`);
    return 0;
  },
};

/** @throws UsageError for what was not downloaded: the small model, files and folders */
async function namedBy(word: string): Promise<string> {
  const id = await hubIdOf(word);
  if (id === "tiny")
    throw new UsageError("tiny: expected a downloaded model, found the one that comes along; it goes with the package @jamba/tiny-model");
  if (/^[\w.-]+\/[\w.-]+(:.+)?$/s.test(id)) return id;
  throw new UsageError(
    `${word}: expected a downloaded model such as OWNER/NAME, found something else; files and folders are removed as always`,
  );
}

/** Undefined for Ctrl-C. */
async function confirmed(id: string, sizeBytes: number | undefined, { stdin, stderr }: Terminal): Promise<boolean | undefined> {
  if (!stdin.isTTY) throw new UsageError("rm: expected a terminal to ask at, found none; give --yes");
  const lines = createInterface({ input: stdin, output: stderr, terminal: true });
  try {
    const size = sizeBytes === undefined ? "" : ` (${bytesText(sizeBytes)})`;
    lines.setPrompt(`remove ${id}${size}? [y/N] `);
    lines.prompt();
    return await new Promise((resolve) => {
      lines.once("line", (answer) => resolve(/^\s*y(es)?\s*$/i.test(answer)));
      lines.once("SIGINT", () => {
        stderr.write("\n");
        resolve(undefined);
      });
      lines.once("close", () => resolve(false));
    });
  } finally {
    lines.close();
  }
}
