import { type LoadDtype, prepareModel } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, loadOptions, textFlag, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { bytesText, coloursFor, counted, interruptible, loadBar } from "../terminal.ts";

export const prepare: Command = {
  words: "MODEL FOLDER",
  summary: "convert weights once, load them at once",
  about: `Writes FOLDER with the weights as this machine's backend holds them. Every
command takes FOLDER as a model and maps it: nothing is read before it is
used, and memory is shared between processes. MODEL is left as it is.

--dtype has to be given: q8 (blocks of 8 bits), q4 (4 bits, 8 where that hurts
most), experts-int8 (experts as q8), auto, f32, bf16 or f16.`,
  flags: { overwrite: { type: "boolean", help: "replace a FOLDER that was prepared before" }, ...commonFlags },
  notes: `FOLDER appears whole or not at all. Another version of jamba may pack weights
in another way; it then says so, and the model has to be prepared again.`,

  async run({ flags, words }, terminal) {
    const folder = words[1];
    const dtype = textFlag(flags, "dtype") as LoadDtype | undefined;
    if (words.length !== 2)
      throw new UsageError(`prepare: expected a model and a folder, found ${counted(words.length, "word")}; see jamba prepare --help`);
    if (dtype === undefined) throw new UsageError("prepare: expected --dtype, found none; q8 and q4 are the usual ones");
    if (flags["context-length"] !== undefined)
      throw new UsageError("--context-length: expected where a model is loaded, found it in prepare");
    const source = await modelOf(words[0]);
    const quiet = Boolean(flags.quiet || flags.json);
    const bar = loadBar(terminal, !quiet);
    const started = performance.now();
    return interruptible(terminal, async (signal) => {
      const { backend, threads } = loadOptions(flags);
      const overwrite = Boolean(flags.overwrite);
      const options = { dtype, backend, threads, overwrite, signal, onProgress: bar.onProgress };
      const prepared = await prepareModel(source, folder, options).finally(bar.stop);
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      if (flags.json) terminal.stdout.write(`${JSON.stringify(prepared)}\n`);
      if (!quiet) {
        const line = `  ${prepared.folder}: ${bytesText(prepared.sizeBytes)} as ${prepared.dtype} for ${prepared.layout}, ${seconds} s`;
        terminal.stderr.write(`${coloursFor(terminal.stderr, terminal).dim(line)}\n`);
      }
      return 0;
    });
  },
};
