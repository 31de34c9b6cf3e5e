import { type JambaConfig, parseConfig, preparedOf } from "jamba";
import { checkpointOf } from "../checkpoint.ts";
import type { Command } from "../cli.ts";
import { commonFlags, splitModel, UsageError } from "../flags.ts";
import { bytesText, coloursFor, type Terminal, widthOf } from "../terminal.ts";

/** Where a model's bytes are: the first pattern that a tensor's name fits. */
const kinds = [
  ["experts", /\.experts\.|\.moe\./],
  ["mamba", /\.mamba\./],
  ["attention", /\.self_attn\./],
  ["mlp", /\.feed_forward\./],
  ["embeddings", /embed_tokens|lm_head/],
  ["norms and rest", /./],
] as const;

export const inspect: Command = {
  help: `jamba inspect [MODEL]: what a checkpoint holds, from its headers alone

  --tensors     every tensor with dtype, shape and file
  --json        config, layers, bytes and tensors as one document
  --quiet

  In the picture, a letter per layer: M Mamba, A attention; m and a in layers
  whose feed-forward is a mixture of experts.
`,
  flags: { ...commonFlags, tensors: { type: "boolean" } },

  async run({ flags, words }, terminal) {
    const { model: source, rest } = splitModel(words);
    if (rest.length > 0) throw new UsageError(`inspect: expected a model, found ${JSON.stringify(rest.join(" "))}; is the path right?`);
    const checkpoint = await checkpointOf(source);
    try {
      const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`);
      const prepared = preparedOf(checkpoint);
      // A prepared file calls its weights bytes; what they are stands beside them.
      const tensors = [...checkpoint.tensors.values()].map((tensor) => ({ ...tensor, ...prepared?.weights.get(tensor.name) }));
      const bytes: Record<string, number> = Object.fromEntries(kinds.map(([kind]) => [kind, 0]));
      for (const { name, sizeBytes } of tensors) bytes[kinds.find(([, pattern]) => pattern.test(name))![0]] += sizeBytes;
      const dtypes = [...new Set(tensors.map(({ dtype }) => dtype))];
      const layers = letters(config);
      if (flags.json) {
        const as = prepared && { dtype: prepared.dtype, layout: prepared.layout };
        terminal.stdout.write(`${JSON.stringify({ name: checkpoint.name, config, layers, prepared: as, dtypes, bytes, tensors })}\n`);
        return 0;
      }
      terminal.stdout.write(`${coloursFor(terminal.stdout, terminal).bold(checkpoint.name)}\n${picture(config, layers, terminal)}`);
      if (prepared) terminal.stdout.write(`  prepared as ${prepared.dtype}, for a backend of layout ${prepared.layout}\n`);
      terminal.stdout.write(`  ${tensors.length} tensors  ${dtypes.join(", ")}\n${bars(bytes, terminal)}`);
      if (flags.tensors)
        for (const { name, dtype, shape, file } of tensors) terminal.stdout.write(`${name}  ${dtype} [${shape.join(", ")}]  ${file}\n`);
      return 0;
    } finally {
      await checkpoint.close();
    }
  },
};

function letters({ layerKinds, ffnKinds }: JambaConfig): string {
  return layerKinds.map((kind, i) => (ffnKinds[i] === "moe" ? kind[0] : kind[0].toUpperCase())).join("");
}

function picture(config: JambaConfig, layers: string, terminal: Terminal): string {
  const { cyan, dim } = coloursFor(terminal.stdout, terminal);
  const rows = layers.match(/.{1,24}/g)!;
  const names = [
    "dModel",
    "dFf",
    "vocabSize",
    "dInner",
    "dState",
    "dConv",
    "dtRank",
    "nHeads",
    "nKvHeads",
    "headDim",
    "nExperts",
    "nActiveExperts",
    "contextLength",
  ] as const;
  const columns = Math.max(1, Math.floor((widthOf(terminal.stdout) - 2) / 24));
  const cells = names.map((name) => `${name} ${config[name]}`.padEnd(24));
  const table = Array.from({ length: Math.ceil(cells.length / columns) }, (_, i) => cells.slice(i * columns, (i + 1) * columns).join(""));
  return [
    `  ${String(config.nLayers).padStart(3)} layers  ${rows.map((row) => cyan(row)).join("\n              ")}`,
    dim("  M Mamba, A attention, small: experts"),
    ...table.map((row) => `  ${row.trimEnd()}`),
    "",
  ].join("\n");
}

function bars(bytes: Readonly<Record<string, number>>, terminal: Terminal): string {
  const { cyan } = coloursFor(terminal.stdout, terminal);
  const total = Object.values(bytes).reduce((a, b) => a + b, 0);
  const width = widthOf(terminal.stdout) - 29;
  const lines = Object.entries(bytes).filter(([, size]) => size > 0);
  return [...lines, ["all", total] as const]
    .map(
      ([kind, size]) =>
        `  ${kind.padEnd(15)}${bytesText(size).padStart(9)} ${cyan("█".repeat(Math.max(1, Math.round((size / total) * width))))}\n`,
    )
    .join("");
}
