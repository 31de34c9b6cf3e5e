import { type Checkpoint, openCheckpoint } from "@jamba/loader";
import { type JambaConfig, parseConfig } from "jamba";
import { type Command, sourceOf } from "../command.ts";
import { UsageError } from "../errors.ts";
import { pages } from "../help.ts";
import type { Output } from "../io.ts";
import { amount, bar, bytes, table, wrap } from "../layout.ts";

const kinds = ["embeddings", "mamba", "attention", "mlp", "experts", "norms", "other"] as const;
type Kind = (typeof kinds)[number];

interface Tensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly file: string;
  readonly sizeBytes: number;
}

interface Summary {
  readonly name: string;
  readonly config: JambaConfig;
  readonly nTensors: number;
  readonly nParameters: number;
  readonly sizeBytes: number;
  readonly hasTokenizer: boolean;
  readonly bytesByDtype: Readonly<Record<string, number>>;
  readonly bytesByKind: Readonly<Record<Kind, number>>;
}

export const inspect: Command = async ({ flags, positionals, interrupts, output }) => {
  if (positionals.length > 1) throw new UsageError(`${pages.inspect.usage}: found ${positionals.length} arguments`);
  const model = positionals[0] ?? "tiny";
  const checkpoint = await openCheckpoint(sourceOf(model), { signal: interrupts.signal });
  await checkpoint.close();
  const tensors = [...checkpoint.tensors.values()].map(({ name, dtype, shape, file, sizeBytes }) => ({
    name,
    dtype,
    shape,
    file,
    sizeBytes,
  }));
  const summary = summarise(model, checkpoint, tensors);
  if (output.json) await output.document({ ...summary, ...(flags.tensors && { tensors }) });
  else {
    await output.text(`${show(summary, output).join("\n")}\n`);
    if (flags.tensors) await output.text(`\n${showTensors(tensors).join("\n")}\n`);
  }
  return undefined;
};

function summarise(name: string, checkpoint: Checkpoint, tensors: readonly Tensor[]): Summary {
  const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`);
  const bytesByDtype: Record<string, number> = {};
  const bytesByKind = Object.fromEntries(kinds.map((kind) => [kind, 0])) as Record<Kind, number>;
  let [nParameters, sizeBytes] = [0, 0];
  for (const tensor of tensors) {
    bytesByDtype[tensor.dtype] = (bytesByDtype[tensor.dtype] ?? 0) + tensor.sizeBytes;
    bytesByKind[kindOf(tensor.name, config)] += tensor.sizeBytes;
    nParameters += tensor.shape.reduce((product, size) => product * size, 1);
    sizeBytes += tensor.sizeBytes;
  }
  return {
    name,
    config,
    nTensors: tensors.length,
    nParameters,
    sizeBytes,
    hasTokenizer: checkpoint.tokenizer !== undefined,
    bytesByDtype,
    bytesByKind,
  };
}

/** Names are Hugging Face's; old checkpoints keep a dense MLP as expert 0, so the config tells which it is. */
export function kindOf(name: string, { ffnKinds }: Pick<JambaConfig, "ffnKinds">): Kind {
  if (/embed_tokens|lm_head/.test(name)) return "embeddings";
  if (name.includes(".mamba.")) return "mamba";
  if (name.includes(".self_attn.")) return "attention";
  if (/\.(feed_forward|moe)\./.test(name)) return ffnKinds[Number(/layers\.(\d+)\./.exec(name)?.[1])] === "moe" ? "experts" : "mlp";
  return /norm/.test(name) ? "norms" : "other";
}

function show(summary: Summary, output: Output): string[] {
  const { config, nTensors, nParameters, sizeBytes, hasTokenizer, bytesByDtype } = summary;
  const { layerKinds, ffnKinds, ...widths } = config;
  const dtypes = Object.entries(bytesByDtype).map(([dtype, size]) => `${dtype} ${bytes(size)}`);
  const head = `${summary.name}: ${amount(nParameters)} parameters, ${bytes(sizeBytes)} in ${nTensors} tensors (${dtypes.join(", ")})${hasTokenizer ? "" : ", no tokenizer"}`;
  return [
    ...wrap(head, output.width),
    "",
    ...columns(
      Object.entries(widths).map(([name, value]) => `${name} ${value === undefined ? "none" : value}`),
      output.width,
    ),
    "",
    ...(output.pictures ? layerPicture(config, output) : layerWords(config)),
    "",
    ...kindRows(summary, output),
  ];
}

/** Cells of equal width, read line by line. */
function columns(cells: readonly string[], width: number): string[] {
  const cellWidth = Math.max(...cells.map((cell) => cell.length)) + 2;
  const perLine = Math.max(1, Math.floor(Math.min(width, 100) / cellWidth));
  const lines = Array.from({ length: Math.ceil(cells.length / perLine) }, (_, i) => cells.slice(i * perLine, (i + 1) * perLine));
  return lines.map((line) =>
    line
      .map((cell) => cell.padEnd(cellWidth))
      .join("")
      .trimEnd(),
  );
}

function layerWords({ layerKinds, ffnKinds }: JambaConfig): string[] {
  const at = (list: readonly string[], kind: string) => list.flatMap((k, i) => (k === kind ? [i] : [])).join(", ") || "none";
  return [`attention layers: ${at(layerKinds, "attention")}`, `layers with experts: ${at(ffnKinds, "moe")}`];
}

/** Mixers above, what follows each of them below. */
function layerPicture({ layerKinds, ffnKinds, nActiveExperts, nExperts }: JambaConfig, { colors, width }: Output): string[] {
  const perLine = Math.floor((width - 5) / 2);
  const lines: string[] = [];
  for (let from = 0; from < layerKinds.length; from += perLine) {
    const mixers = layerKinds.slice(from, from + perLine).map((kind) => (kind === "mamba" ? colors.cyan("M") : colors.yellow("A")));
    const ffns = ffnKinds.slice(from, from + perLine).map((kind) => (kind === "moe" ? colors.magenta("E") : colors.dim("·")));
    lines.push(`${String(from).padStart(3)}  ${mixers.join(" ")}`, `     ${ffns.join(" ")}`);
  }
  const legend = `M Mamba, A attention, E ${nActiveExperts} of ${nExperts} experts, · MLP`;
  return [...lines, ...wrap(legend, width - 5).map((line) => `     ${colors.dim(line)}`)];
}

function kindRows({ bytesByKind, sizeBytes }: Summary, { colors, pictures, width }: Output): string[] {
  const present = kinds.filter((kind) => bytesByKind[kind] > 0);
  const share = (kind: Kind) => bytesByKind[kind] / sizeBytes;
  const rows = table(
    present.map((kind) => [kind, bytes(bytesByKind[kind]), `${(100 * share(kind)).toFixed(1)} %`]),
    [1, 2],
  );
  if (!pictures) return rows;
  const room = Math.min(60, width - rows[0].length - 2);
  return rows.map((line, i) => `${line}  ${colors.cyan(bar(share(present[i]), room))}`);
}

function showTensors(tensors: readonly Tensor[]): string[] {
  return table(
    tensors.map(({ name, dtype, shape, sizeBytes, file }) => [name, dtype, `[${shape.join(", ")}]`, bytes(sizeBytes), file]),
    [3],
  );
}
