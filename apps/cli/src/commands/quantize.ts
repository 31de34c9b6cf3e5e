import { type QuantizedTensor, quantizeDtypes } from "@jamba/loader";
import { type QuantizeModelOptions, quantizeModel } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, loadOptions, textFlag, textOf, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { bytesText, coloursFor, counted, interruptible, loadBar, widthOf, wrapped } from "../terminal.ts";

export const quantize: Command = {
  words: "IN OUT.gguf",
  summary: "a GGUF file with smaller weights",
  about: `llama.cpp loads OUT too. IN is any MODEL and stays as it is.

--dtype has to be given: q8 (blocks of 8 bits), q4 (4 bits, 8 where that hurts
most), q4_k_m (4 bits with finer scales, 6 where it hurts most), experts-int8
(experts as q8, all else as stored), bf16, f16 or f32.`,
  flags: {
    calibrate: {
      type: "string",
      value: "FILE",
      help: "a text such as the model will read: errors are kept small where it matters for that. Better for the same bytes; the model has to fit in memory",
    },
    overwrite: { type: "boolean", help: "replace an OUT that is there" },
    ...commonFlags,
    dtype: { ...commonFlags.dtype, value: quantizeDtypes.join("|"), fallback: undefined },
  },
  notes: `OUT appears whole or not at all. What a killed run left beside it is removed
by the next one, which starts anew. jamba score shows what is lost.`,

  async run({ flags, words }, terminal) {
    const out = words[1];
    const dtype = textFlag(flags, "dtype") as QuantizeModelOptions["dtype"] | undefined;
    if (words.length !== 2)
      throw new UsageError(`quantize: expected a model and a file, found ${counted(words.length, "word")}; see jamba quantize --help`);
    if (dtype === undefined) throw new UsageError("quantize: expected --dtype, found none; q4_k_m and q8 are the usual ones");
    if (flags["context-length"] !== undefined)
      throw new UsageError("--context-length: expected where a model is loaded, found it in quantize");
    const calibration = textFlag(flags, "calibrate");
    const calibrate = calibration === undefined ? undefined : await textOf("--calibrate", calibration);
    const source = await modelOf(words[0]);
    const quiet = Boolean(flags.quiet || flags.json);
    const bar = loadBar(terminal, !quiet);
    const started = performance.now();
    return interruptible(terminal, async (signal) => {
      const { contextLength: _, ...rest } = loadOptions(flags);
      const options = { ...rest, dtype, calibrate, overwrite: Boolean(flags.overwrite), signal, onProgress: bar.onProgress };
      const { file, sizeBytes, tensors, warnings } = await quantizeModel(source, out, options).finally(bar.stop);
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      if (flags.json) terminal.stdout.write(`${JSON.stringify({ file, dtype, sizeBytes, tensors, warnings })}\n`);
      if (!quiet) {
        const { dim, yellow } = coloursFor(terminal.stderr, terminal);
        terminal.stderr.write(dim(tensorLines(tensors, widthOf(terminal.stderr))));
        for (const warning of warnings) terminal.stderr.write(`  ${yellow("note:")} ${warning}\n`);
        terminal.stderr.write(`${dim(`  ${file}: ${bytesText(sizeBytes)} as ${dtype}, ${seconds} s`)}\n`);
      }
      return 0;
    });
  },
};

/** What tensors became, and why: those of one reason together, the most bytes first, in lines of at most `width`. */
export function tensorLines(tensors: readonly QuantizedTensor[], width: number): string {
  const groups = new Map<string, QuantizedTensor[]>();
  for (const tensor of tensors) {
    const key = [tensor.from, tensor.dtype, tensor.reason].join();
    groups.set(key, [...(groups.get(key) ?? []), tensor]);
  }
  const bytesOf = (group: readonly QuantizedTensor[]) => group.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const sorted = [...groups.values()].sort((a, b) => bytesOf(b) - bytesOf(a));
  return sorted
    .flatMap((group) => {
      const [{ from, dtype, reason }] = group;
      const became = from === dtype ? `${dtype}, as it was` : `${from} → ${dtype}`;
      const head = `  ${bytesText(bytesOf(group)).padStart(8)}  ${became.padEnd(16)}  ${counted(group.length, "tensor").padEnd(12)}  `;
      const names = [...new Set(group.map(({ name }) => name.replace(/^blk\.\d+\./, "").replace(/\.(weight|bias)$/, "")))];
      const lines = wrapped(`${reason}: ${names.join(", ")}`, Math.max(20, width - head.length));
      return lines.map((line, i) => `${i === 0 ? head : " ".repeat(head.length)}${line}\n`);
    })
    .join("");
}
