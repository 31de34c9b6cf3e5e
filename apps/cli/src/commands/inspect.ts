import { readFile } from "node:fs/promises";
import type { Checkpoint } from "@jamba/loader";
import { type JambaConfig, JambaError, type MemoryPlan, type PlanOptions, parseConfig, planMemory, preparedOf } from "jamba";
import { checkpointOf } from "../checkpoint.ts";
import type { Command } from "../cli.ts";
import { commonFlags, type FlagValues, loadOptions, numberFlag, sizeFlag, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { bar } from "../pictures.ts";
import { bytesText, coloursFor, counted, type Terminal, widthOf, wrapped } from "../terminal.ts";

/** What a file's bytes are: the first pattern that a tensor's name fits. */
const kinds = [
  ["experts", /\.experts\.|\.moe\./],
  ["mamba", /\.mamba\./],
  ["attention", /\.self_attn\./],
  ["mlp", /\.feed_forward\./],
  ["embeddings", /embed_tokens|lm_head/],
  ["norms and rest", /./],
] as const;

const shownConfig = [
  "nLayers",
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
] as const satisfies readonly (keyof JambaConfig)[];

export const inspect: Command = {
  words: "[MODEL]",
  summary: "what a model is, and what memory it takes",
  about: `Reads configs and headers alone. MODEL may also be a config.json by itself. In
the picture, a letter per layer: M Mamba, A attention; m and a in layers whose
feed-forward is a mixture of experts.`,
  flags: {
    batch: { type: "string", value: "N", fallback: "1", help: "sequences at the same time" },
    memory: { type: "string", value: "SIZE", help: "to fit in, such as 80GB or 24GiB; what this machine has free if left out" },
    tensors: { type: "boolean", help: "every tensor with dtype, shape and file" },
    assumptions: { type: "boolean", help: "what the plan counts, and what not" },
    ...commonFlags,
    backend: { ...commonFlags.backend, value: `${commonFlags.backend.value}|paper` },
  },
  notes: `--context-length N: tokens to plan for; the model's own if left out.
--backend paper counts as papers do, also for llama, mistral and mixtral.
--json has the plan and the assumptions too.`,

  async run({ flags, words }, terminal) {
    if (words.length > 1) throw new UsageError(`inspect: expected one model, found ${JSON.stringify(words.join(" "))}`);
    const source = words[0]?.endsWith(".json") ? words[0] : await modelOf(words[0]);
    const { offline: _, ...load } = loadOptions(flags);
    const options: PlanOptions = { ...load, batch: numberFlag(flags, "batch"), memoryBytes: sizeFlag(flags, "memory") };
    if (source.endsWith(".json")) {
      const json = await readConfig(source);
      const plan = await planMemory(json, options);
      return show({ name: source, plan, config: plan.modelType === "jamba" ? parseConfig(json, source) : undefined }, flags, terminal);
    }
    const checkpoint = await checkpointOf(source, flags);
    try {
      const warnings = [...(checkpoint.warnings ?? [])];
      const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`, (warning) => warnings.push(warning));
      const plan = await planned(checkpoint, options);
      return show({ ...plan, name: checkpoint.name, config, warnings, ...listed(checkpoint) }, flags, terminal);
    } finally {
      await checkpoint.close();
    }
  },
};

interface Found extends Partial<ReturnType<typeof listed>> {
  readonly name: string;
  readonly config?: JambaConfig;
  /** What is taken otherwise than the files say. */
  readonly warnings?: readonly string[];
  readonly plan?: MemoryPlan;
  /** Why there is no plan. */
  readonly planError?: { readonly code: string; readonly message: string };
}

function listed(checkpoint: Checkpoint) {
  const prepared = preparedOf(checkpoint);
  // A prepared file calls its weights bytes; what they are stands beside them.
  const tensors = [...checkpoint.tensors.values()].map((tensor) => ({ ...tensor, ...prepared?.weights.get(tensor.name) }));
  const bytes: Record<string, number> = Object.fromEntries(kinds.map(([kind]) => [kind, 0]));
  for (const { name, sizeBytes } of tensors) bytes[kinds.find(([, pattern]) => pattern.test(name))![0]] += sizeBytes;
  const dtypes: readonly string[] = [...new Set(tensors.map(({ dtype }) => dtype))];
  return { prepared: prepared && { dtype: prepared.dtype, layout: prepared.layout }, dtypes, bytes, tensors };
}

/** Files that can't be loaded can still be listed. */
async function planned(checkpoint: Checkpoint, options: PlanOptions): Promise<Pick<Found, "plan" | "planError">> {
  try {
    return { plan: await planMemory(checkpoint, options) };
  } catch (error) {
    if (!(error instanceof JambaError) || error.code !== "LOAD") throw error;
    return { planError: { code: error.code, message: error.message } };
  }
}

async function readConfig(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new JambaError("LOAD", `${path}: expected a config.json that can be read: ${(cause as Error).message}`, { cause });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new JambaError("LOAD", `${path}: expected JSON: ${(cause as Error).message}`, { cause });
  }
}

function show(found: Found, flags: FlagValues, terminal: Terminal): number {
  const { name, config, warnings = [], plan, planError, prepared, dtypes, bytes, tensors = [] } = found;
  const { stdout } = terminal;
  const layers = config && letters(config);
  if (flags.json) {
    stdout.write(`${JSON.stringify({ name, config, layers, prepared, dtypes, bytes, tensors, warnings, plan, planError })}\n`);
    return 0;
  }
  const { bold, cyan, dim } = coloursFor(stdout, terminal);
  const width = widthOf(stdout) - 2;
  const write: Write = (text, style = (line) => line) => {
    for (const line of wrapped(text, width)) stdout.write(`  ${style(line.replaceAll(noBreak, " "))}\n`);
  };
  stdout.write(`${bold(name)}\n`);
  if (config && layers) {
    const legend = "M Mamba, A attention, small: experts";
    const rows = layers.match(new RegExp(`.{1,${width}}`, "g"))!.map(cyan);
    const fits = layers.length + 2 + legend.length <= width;
    for (const row of fits ? [`${rows[0]}  ${dim(legend)}`] : [...rows, dim(legend)]) stdout.write(`  ${row}\n`);
    write(shownConfig.map((key) => tied(`${key} ${config[key]}`)).join(", "));
  }
  for (const warning of warnings) write(`note: ${warning}`);
  if (prepared) stdout.write(`  prepared as ${prepared.dtype}, for a backend of layout ${prepared.layout}\n`);
  if (dtypes) stdout.write(`  ${counted(tensors.length, "tensor")}  ${dtypes.join(", ")}\n`);
  if (planError) write(`memory can't be planned: ${planError.message}`);
  if (plan) draw(plan, terminal, write);
  if (plan && flags.assumptions) write(plan.assumptions.join("; "), dim);
  if (flags.tensors) for (const { name, dtype, shape, file } of tensors) stdout.write(`${name}  ${dtype} [${shape.join(", ")}]  ${file}\n`);
  return 0;
}

/** A paragraph, as lines that fit. */
type Write = (text: string, style?: (line: string) => string) => void;

function letters({ layerKinds, ffnKinds }: JambaConfig): string {
  return layerKinds.map((kind, i) => (ffnKinds[i] === "moe" ? kind[0] : kind[0].toUpperCase())).join("");
}

function draw(plan: MemoryPlan, terminal: Terminal, write: Write): void {
  const { stdout } = terminal;
  const { bold, cyan, green, red } = coloursFor(stdout, terminal);
  const { weights, kv, state, workspace, totalBytes, memory, fits, contextLength, batch } = plan;
  const sequences = counted(batch, "sequence");
  write(
    `${countText(plan.parameters)} parameters on ${plan.backend}, ${plan.dtype}: ${sequences} of ${counted(contextLength, "token")}`,
    bold,
  );
  const parts = { ...weights.byPart, [`KV ${kv.dtype}`]: kv.bytes, state: state.bytes, workspace: workspace.bytes };
  const line = (part: string, bytes: number, rest: string) => stdout.write(`  ${part.padEnd(10)}${bytesText(bytes).padStart(9)} ${rest}\n`);
  for (const [part, bytes] of Object.entries(parts)) if (bytes > 0) line(part, bytes, cyan(bar(bytes / totalBytes, widthOf(stdout) - 22)));
  line("all", totalBytes, `of ${bytesText(memory.freeBytes)} free`);
  const longest = Math.max(4096, contextLength, plan.largestContext);
  const contexts = [4096, 16384, 65536, 262144].filter((tokens) => tokens <= longest);
  const kvAt = (tokens: number) => tied(`${tokens / 1024}K ${bytesText(kv.bytesPerToken * tokens)}`);
  if (kv.bytesPerToken > 0) write(`KV of one sequence: ${contexts.map(kvAt).join(", ")}`);
  write(`in all, as ${plan.dtypes.map(({ dtype, totalBytes }) => tied(`${dtype} ${bytesText(totalBytes)}`)).join(", ")}`);
  write(verdict(plan), fits ? green : red);
}

function verdict({ fits, dtypes, largestContext, contextLength, memory }: MemoryPlan): string {
  const context = `the longest context that fits is ${counted(largestContext, "token")}`;
  if (fits) return `fits; ${context}`;
  const other = dtypes.find((dtype) => dtype.fits);
  const would = other ? `${other.dtype} would (${bytesText(other.totalBytes)})` : "no other dtype would";
  const shorter = largestContext > 0 && largestContext < contextLength ? `; ${context}` : "";
  return `does not fit in ${bytesText(memory.freeBytes)}; ${would}${shorter}`;
}

/** 51.6 B */
function countText(count: number): string {
  const units = ["", " k", " M", " B"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, count)) / 3));
  return `${Number((count / 1000 ** power).toPrecision(3))}${units[power]}`;
}

/** Between words that stay on one line. */
const noBreak = "\u00a0";
const tied = (text: string) => text.replaceAll(" ", noBreak);
