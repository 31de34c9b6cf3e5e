import { listCached } from "@jamba/loader";
import type { Command } from "../cli.ts";
import { type LocalModel, modelsOf, type OtherRepository, tinyModel } from "../downloaded.ts";
import { commonFlags, textFlag, UsageError } from "../flags.ts";
import { table } from "../table.ts";
import { bytesText, coloursFor, counted, sinceText, widthOf, wrapped } from "../terminal.ts";

export const list: Command = {
  words: "",
  summary: "the models on this disk",
  about: `What the hub's cache holds, which Python's huggingface_hub shares, and the
small model that comes along: each with what other commands take as MODEL.`,
  flags: {
    "cache-dir": { type: "string", value: "DIR", help: "instead of HF_HUB_CACHE and what stands for it" },
    all: { type: "boolean", help: "also what is there and is no Jamba, and why" },
    json: commonFlags.json,
    quiet: commonFlags.quiet,
    help: commonFlags.help,
  },
  notes: "jamba rm takes one away again.",

  async run({ flags, words }, terminal) {
    if (words.length > 0) throw new UsageError(`list: expected no words, found ${words.join(" ")}`);
    const models: LocalModel[] = [await tinyModel()];
    const others: OtherRepository[] = [];
    for (const repository of await listCached({ cacheDir: textFlag(flags, "cache-dir") })) {
      const found = await modelsOf(repository);
      models.push(...found.models);
      if (found.other) others.push(found.other);
    }
    const { stdout, stderr } = terminal;
    if (flags.json) {
      stdout.write(`${JSON.stringify({ models, others })}\n`);
      return 0;
    }
    const { bold } = coloursFor(stdout, terminal);
    const since = (changed?: Date) => (changed ? sinceText(+changed) : "comes along");
    const rows = models.map(({ id, sizeBytes, dtypes, changed }) => [id, bytesText(sizeBytes), dtypes[0] ?? "", since(changed)]);
    stdout.write(table(["model", ">size", "dtype", "downloaded"], rows, bold));
    const { dim } = coloursFor(stderr, terminal);
    const tell = (text: string) => wrapped(text, widthOf(stderr) - 2).forEach((line) => void stderr.write(dim(`  ${line}\n`)));
    if (flags.quiet || others.length === 0) return 0;
    if (flags.all) for (const { id, sizeBytes, reason } of others) tell(`${id} (${bytesText(sizeBytes)}): ${reason}`);
    else tell(`and ${counted(others.length, "other")} in the cache that can't be run here; --all tells which and why`);
    return 0;
  },
};
