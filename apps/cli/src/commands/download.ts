import { join } from "node:path";
import { download as downloadModel } from "@jamba/loader";
import type { Command } from "../cli.ts";
import { commonFlags, textFlag, UsageError } from "../flags.ts";
import { hubIdOf } from "../model-word.ts";
import { bytesText, coloursFor, counted, interruptible, loadBar } from "../terminal.ts";

export const download: Command = {
  words: "ID",
  summary: "bring a model from the Hugging Face hub",
  about: `Fetches config, tokenizer and one set of weights into the cache that Python's
huggingface_hub uses too, and prints where they lie. What is there already is
not fetched again; stopped, it goes on where it was when run again. Every
file is checked against the hub's hash. ID is OWNER/NAME, or one GGUF file of
it as OWNER/NAME:FILE.gguf or OWNER/NAME:Q4_K_M.`,
  flags: {
    revision: { type: "string", value: "R", fallback: "main", help: "a branch, a tag or a commit" },
    "cache-dir": { type: "string", value: "DIR", help: "HF_HUB_CACHE, or hub in HF_HOME, or ~/.cache/huggingface/hub" },
    ...commonFlags,
  },
  notes: `With --offline it only says where the model lies. HF_TOKEN is sent to the hub
for gated and private models; HF_ENDPOINT names another hub. Of what all
commands take, --backend, --dtype and --threads change nothing here.`,

  async run({ flags, words }, terminal) {
    if (words.length !== 1)
      throw new UsageError(`download: expected one hub id, found ${counted(words.length, "word")}; see jamba download --help`);
    const id = await hubIdOf(words[0]);
    const quiet = Boolean(flags.quiet || flags.json);
    const bar = loadBar(terminal, !quiet);
    const started = performance.now();
    const code = await interruptible(terminal, async (signal) => {
      const found = await downloadModel(id, {
        revision: textFlag(flags, "revision"),
        cacheDir: textFlag(flags, "cache-dir"),
        offline: flags.offline as boolean | undefined,
        signal,
        onProgress: bar.onProgress,
      }).finally(bar.stop);
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      const { folder, file, totalBytes, fetchedBytes } = found;
      terminal.stdout.write(`${flags.json ? JSON.stringify(found) : file === undefined ? folder : join(folder, file)}\n`);
      if (!quiet) {
        const fetched = fetchedBytes === 0 ? "all there before" : `${bytesText(fetchedBytes)} fetched in ${seconds} s`;
        terminal.stderr.write(`${coloursFor(terminal.stderr, terminal).dim(`  ${id}: ${bytesText(totalBytes)}, ${fetched}`)}\n`);
      }
      return 0;
    });
    if (code === 130 && !quiet) terminal.stderr.write(`jamba: stopped; run it again to go on\n`);
    return code;
  },
};
