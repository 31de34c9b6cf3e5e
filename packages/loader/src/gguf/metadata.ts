// What a GGUF file of a Jamba says of itself, in the keys that llama.cpp reads.

import type { JambaConfig } from "../model/config.ts";
import { parseGenerationConfig } from "../model/generation-config.ts";
import { endKeys, turnEnds } from "./ends.ts";
import type { GgufValue } from "./header.ts";
import { samplingKeys } from "./sampling.ts";
import { tokenTypes } from "./token-types.ts";
import { ggufVocabulary } from "./vocabulary.ts";

type Metadata = ReadonlyMap<string, GgufValue>;

/** What a `Checkpoint` says besides its weights. */
interface Origin {
  readonly name: string;
  readonly tokenizer?: unknown;
  readonly tokenizerConfig?: unknown;
  readonly generationConfig?: unknown;
  readonly gguf?: Metadata;
}

export interface Described {
  readonly metadata: Metadata;
  /** What is lost, or keeps other engines from reading the file. */
  readonly warnings: readonly string[];
}

/**
 * Metadata for the weights of `checkpoint`. What a GGUF file says about itself and its tokenizer is taken over.
 * @param fileType llama.cpp's number for the dtype of most weights
 * @throws TokenizerError for a tokenizer that GGUF can't express
 */
export function describeGguf(checkpoint: Origin, config: JambaConfig, fileType: number): Described {
  const { gguf, name } = checkpoint;
  const warnings = limitsOf(config).map((limit) => `llama.cpp can't load this model: ${limit}`);
  const metadata = new Map<string, GgufValue>([
    ["general.architecture", "jamba"],
    ["general.name", baseName(name)],
    ...[...(gguf ?? [])].filter(([key]) => key.startsWith("general.") && !ownKeys.has(key)),
    ["general.file_type", fileType],
    ["general.quantization_version", 2],
    ...modelKeys(config),
    ...samplingKeys(parseGenerationConfig(checkpoint.generationConfig).defaults),
  ]);
  for (const [key, value] of tokenizerOf(checkpoint, config, warnings)) metadata.set(key, value);
  return { metadata, warnings };
}

/** About the file, not the model. */
const ownKeys = new Set(["general.file_type", "general.quantization_version", "general.alignment"]);

function modelKeys(config: JambaConfig): [string, GgufValue][] {
  const { dModel, nHeads, nKvHeads, headDim, layerKinds } = config;
  const keys: [string, GgufValue][] = [
    ["block_count", config.nLayers],
    ["context_length", config.contextLength],
    ["embedding_length", dModel],
    ["feed_forward_length", config.dFf],
    ["vocab_size", config.vocabSize],
    ["attention.head_count", nHeads],
    // The only place that says which layers are Mamba.
    ["attention.head_count_kv", Int32Array.from(layerKinds, (kind) => (kind === "attention" ? nKvHeads : 0))],
    ["attention.layer_norm_rms_epsilon", config.rmsNormEps],
    ["ssm.conv_kernel", config.dConv],
    ["ssm.inner_size", config.dInner],
    ["ssm.state_size", config.dState],
    ["ssm.time_step_rank", config.dtRank],
    ["expert_count", config.nExperts],
    ["expert_used_count", config.nActiveExperts],
  ];
  if (nHeads * headDim !== dModel) keys.push(["attention.key_length", headDim], ["attention.value_length", headDim]);
  return keys.map(([key, value]) => [`jamba.${key}`, value]);
}

/** What llama.cpp takes for granted of a Jamba. */
function limitsOf(config: JambaConfig): string[] {
  const { dInner, dModel, nHeads, headDim, layerKinds } = config;
  const limits: (readonly [ok: boolean, expected: string])[] = [
    [dInner === 2 * dModel, `it expects dInner = 2 · dModel, found ${dInner} and ${dModel}`],
    [nHeads * headDim === dModel, `it expects nHeads · headDim = dModel, found ${nHeads} · ${headDim} and ${dModel}`],
    [config.convBias, "it expects a bias of the convolution, found none"],
    [!config.projBias, "it expects no biases of inProj and outProj, found them"],
    [layerKinds.includes("attention") && layerKinds.includes("mamba"), "it expects layers of Mamba and of attention, found one kind"],
  ];
  return limits.filter(([ok]) => !ok).map(([, expected]) => expected);
}

function tokenizerOf({ gguf, tokenizer, tokenizerConfig, generationConfig }: Origin, config: JambaConfig, warnings: string[]): Metadata {
  const given = new Map([...(gguf ?? [])].filter(([key]) => key.startsWith("tokenizer.")));
  if (tokenizer === undefined) {
    if (!given.has("tokenizer.ggml.model")) given.set("tokenizer.ggml.model", "no_vocab");
    warnings.push("there is no tokenizer: the file takes and gives token ids only");
    return given;
  }
  if (gguf) mendVocabulary(given, tokenizer, config, warnings);
  // Of a file whose scores are real, nothing has to be found out.
  if (gguf && hasScores(given)) return given;
  const { vocabSize: nTokens, bosId, padId } = config;
  const eosIds = [...config.eosIds, ...parseGenerationConfig(generationConfig).eosIds];
  const { metadata, unreachable } = ggufVocabulary(tokenizer, tokenizerConfig, { nTokens, bosId, eosIds, padId });
  if (unreachable.length > 0) {
    const some = unreachable.slice(0, 4).map((token) => JSON.stringify(token));
    warnings.push(`${unreachable.length} tokens that no merge makes (${some.join(", ")}) may come up in other engines`);
  }
  if (!gguf) return metadata;
  return given.set("tokenizer.ggml.scores", metadata.get("tokenizer.ggml.scores")!);
}

/** What was read otherwise than written is written as it was read, and each end of an answer where llama.cpp looks for it. */
function mendVocabulary(given: Map<string, GgufValue>, tokenizer: unknown, config: JambaConfig, warnings: string[]): void {
  const key = (name: string) => `tokenizer.ggml.${name}`;
  const tokens = given.get(key("tokens")) as string[];
  const types = given.get(key("token_type"));
  const { added_tokens: added = [], equal_tokens: equal } = tokenizer as {
    added_tokens?: readonly { id: number; special: boolean }[];
    equal_tokens?: readonly unknown[];
  };
  if (types instanceof Int32Array) {
    const { normal, undefined: none, byte, control, userDefined } = tokenTypes;
    const isPlain = ({ id }: { id: number }) => [normal, none, byte].includes(types[id]);
    const mended = Int32Array.from(types);
    for (const { id, special } of added.filter(isPlain)) mended[id] = special ? control : userDefined;
    given.set(key("token_type"), mended);
  }
  for (const name of given.keys())
    if (/^tokenizer\.ggml\.\w+_token_id$/.test(name) && !((given.get(name) as number) < tokens.length)) given.delete(name);
  const turns = turnEnds.map((token) => tokens.indexOf(token)).filter((id) => id >= 0);
  for (const [name, id] of endKeys([...config.eosIds, ...turns], tokens)) if (!given.has(name)) given.set(name, id);
  if (equal) warnings.push("llama.cpp can't load this model: it expects each token once, found some more than once");
}

/** Converters without SentencePiece's own file write one score for all, which an engine that reads scores can't use. */
function hasScores(metadata: Metadata): boolean {
  const scores = metadata.get("tokenizer.ggml.scores");
  const normal = metadata.get("tokenizer.ggml.token_type");
  if (!(scores instanceof Float32Array)) return false;
  return new Set(scores.filter((_, id) => !(normal instanceof Int32Array) || normal[id] === 1)).size > 1;
}

function baseName(name: string): string {
  return (
    name
      .replace(/[/\\]+$/, "")
      .replace(/^.*[/\\]/s, "")
      .replace(/\.(gguf|safetensors)$/i, "") || "jamba"
  );
}
