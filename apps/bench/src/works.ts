// What is measured of a loaded model, and how much of the machine's limit that is.

import type { costsOf, Format, PresetName } from "./presets.ts";

export interface WorkInfo {
  readonly unit: "tokens/s" | "requests/s" | "s" | "ms" | "MB" | "tokens" | "steps";
  /** Tokens of the prompt. */
  readonly tokens: number;
  readonly title: string;
  /** Which scene measures it; the others are done one after another in one process. */
  readonly scene?: Scene;
}

export interface SceneInfo {
  /** Of the longest conversation; `--tokens` asks for another length where the title ends with it. */
  readonly tokens: number;
  /** Conversations at the same time. */
  readonly sequences: number;
  readonly fixed?: boolean;
  /** What it measures is a feature that the peer lacks. */
  readonly oursOnly?: boolean;
  /** One round is enough: it counts tokens, or takes very long. */
  readonly once?: boolean;
  /** Takes hours on a large model: is measured only when it is named. */
  readonly named?: boolean;
}

/** Many requests to one model, each scene in a process of its own. */
export const scenes = {
  batch: { tokens: 256, sequences: 8, fixed: true },
  sampling: { tokens: 256, sequences: 8, fixed: true },
  score: { tokens: 8001, sequences: 1, fixed: true, oursOnly: true, once: true },
  chat: { tokens: 32768, sequences: 1 },
  arrival: { tokens: 16384, sequences: 16 },
  reuse: { tokens: 4096, sequences: 1, fixed: true, once: true },
  rollback: { tokens: 258000, sequences: 1, once: true, named: true },
  http: { tokens: 256, sequences: 8, fixed: true },
  copy: { tokens: 1024, sequences: 1, fixed: true, oursOnly: true },
  context: { tokens: 262144, sequences: 1, oursOnly: true },
  "long-chat": { tokens: 100000, sequences: 2, oursOnly: true, once: true, named: true },
} as const satisfies Record<string, SceneInfo>;

export type Scene = keyof typeof scenes;
export const sceneInfo = (scene: Scene): SceneInfo => scenes[scene];

export const works = {
  load: { unit: "s", tokens: 0, title: "load" },
  "first-token": { unit: "s", tokens: 16, title: "load and first token of 16" },
  "prefill-128": { unit: "tokens/s", tokens: 128, title: "prefill 128" },
  "prefill-512": { unit: "tokens/s", tokens: 512, title: "prefill 512" },
  "decode-16": { unit: "tokens/s", tokens: 16, title: "decode at 16" },
  "decode-busy": { unit: "tokens/s", tokens: 16, title: "decode, a core busy" },
  "prefill-2048": { unit: "tokens/s", tokens: 2048, title: "prefill 2048" },
  "decode-4096": { unit: "tokens/s", tokens: 4096, title: "decode at 4096" },
  memory: { unit: "MB", tokens: 0, title: "peak memory" },
  "batch-8": { unit: "tokens/s", tokens: 16, title: "decode of 8 at once", scene: "batch" },
  "sampled-greedy": { unit: "tokens/s", tokens: 16, title: "decode, greedy", scene: "sampling" },
  "sampled-top-p": { unit: "tokens/s", tokens: 16, title: "decode, top-p 0.9", scene: "sampling" },
  "sampled-top-k": { unit: "tokens/s", tokens: 16, title: "decode, top-k 40", scene: "sampling" },
  "sampled-min-p": { unit: "tokens/s", tokens: 16, title: "decode, min-p 0.05", scene: "sampling" },
  "sampled-logprobs": { unit: "tokens/s", tokens: 16, title: "decode, 20 log probabilities", scene: "sampling" },
  "sampled-8-greedy": { unit: "tokens/s", tokens: 16, title: "decode of 8, greedy", scene: "sampling" },
  "sampled-8-top-p": { unit: "tokens/s", tokens: 16, title: "decode of 8, top-p 0.9", scene: "sampling" },
  "sampled-8-top-k": { unit: "tokens/s", tokens: 16, title: "decode of 8, top-k 40", scene: "sampling" },
  "sampled-8-min-p": { unit: "tokens/s", tokens: 16, title: "decode of 8, min-p 0.05", scene: "sampling" },
  "sampled-8-logprobs": { unit: "tokens/s", tokens: 16, title: "decode of 8, 20 log probabilities", scene: "sampling" },
  "score-memory": { unit: "MB", tokens: 0, title: "memory to score 8000", scene: "score" },
  chat: { unit: "s", tokens: 0, title: "chat of 20 turns to", scene: "chat" },
  "chat-read": { unit: "tokens", tokens: 0, title: "tokens read, chat to", scene: "chat" },
  arrival: { unit: "steps", tokens: 0, title: "wait of 20 during a prefill of", scene: "arrival" },
  "arrival-worst": { unit: "steps", tokens: 0, title: "longest wait of 20 during a prefill of", scene: "arrival" },
  reuse: { unit: "tokens", tokens: 0, title: "tokens read, prefixes shared in part", scene: "reuse" },
  rollback: { unit: "s", tokens: 0, title: "first token, edited at two fifths of", scene: "rollback" },
  "rollback-read": { unit: "tokens", tokens: 0, title: "tokens read, edited at two fifths of", scene: "rollback" },
  http: { unit: "requests/s", tokens: 0, title: "HTTP, 8 clients", scene: "http" },
  "http-tokens": { unit: "tokens/s", tokens: 0, title: "HTTP, 8 clients, new tokens", scene: "http" },
  "http-p50": { unit: "ms", tokens: 0, title: "HTTP, 8 clients, p50", scene: "http" },
  "http-p97": { unit: "ms", tokens: 0, title: "HTTP, 8 clients, p97.5", scene: "http" },
  "http-p99": { unit: "ms", tokens: 0, title: "HTTP, 8 clients, p99", scene: "http" },
  serve: { unit: "requests/s", tokens: 0, title: "HTTP, 8 clients, jamba serve", scene: "http" },
  "serve-p50": { unit: "ms", tokens: 0, title: "HTTP, 8 clients, jamba serve, p50", scene: "http" },
  "serve-p99": { unit: "ms", tokens: 0, title: "HTTP, 8 clients, jamba serve, p99", scene: "http" },
  "copy-plain": { unit: "tokens/s", tokens: 0, title: "copying with changes", scene: "copy" },
  copy: { unit: "tokens/s", tokens: 0, title: "copying with changes, prompt lookup", scene: "copy" },
  "token-4096": { unit: "ms", tokens: 0, title: "a token after 4096", scene: "context" },
  token: { unit: "ms", tokens: 0, title: "a token before", scene: "context" },
  fork: { unit: "ms", tokens: 0, title: "fork at", scene: "long-chat" },
  "next-turn": { unit: "s", tokens: 0, title: "first token, next turn at", scene: "long-chat" },
  edit: { unit: "s", tokens: 0, title: "first token, last turn edited at", scene: "long-chat" },
  regenerate: { unit: "s", tokens: 0, title: "first token, answered again at", scene: "long-chat" },
} as const satisfies Record<string, WorkInfo>;

/** In the order in which a process does them. */
export type Work = keyof typeof works;
export const allWorks = Object.keys(works) as Work[];

export const sceneOf = (work: Work): Scene | undefined => (works[work] as WorkInfo).scene;

/** Measured only when it is named. */
export function isNamed(work: Work): boolean {
  const scene = sceneOf(work);
  return scene !== undefined && sceneInfo(scene).named === true;
}

/** Tokens of a scene's longest conversation, given what `--tokens` asks for. */
export const sceneTokens = (scene: Scene, asked: number | undefined): number =>
  sceneInfo(scene).fixed ? scenes[scene].tokens : (asked ?? scenes[scene].tokens);

export function titleOf(work: Work, asked?: number): string {
  const [scene, { title }] = [sceneOf(work), works[work]];
  return scene && !sceneInfo(scene).fixed && work !== "token-4096" ? `${title} ${sceneTokens(scene, asked)}` : title;
}

/** Tokens drawn at most after a prompt. */
export const maxDrawn = 256;

/** What one run of the processes covers. */
export interface Plan {
  readonly model: PresetName;
  readonly format: Format;
  readonly works: readonly Work[];
}

/** `nano` is no model to compare, so that `*` leaves it out. */
const grid: readonly { model: PresetName; formats: readonly Format[] }[] = [
  { model: "3b", formats: ["q4", "q8", "bf16"] },
  { model: "tiny-dev", formats: ["q4", "q8"] },
  { model: "mini-slice", formats: ["q4"] },
  { model: "nano", formats: ["q4", "q8", "bf16"] },
];

/**
 * The cells that filters such as `3b/q4/prefill-512` or `3b` name; a part may be `*`.
 * @throws Error for a filter that names none
 */
export function plansOf(filters: readonly string[]): Plan[] {
  const fits = (filter: string, { model, format }: Omit<Plan, "works">, work: Work) => {
    const [m = "*", f = "*", w = "*"] = filter.split("/");
    const is = (part: string, value: string) => part === "*" || part === value;
    return (m === model || (m === "*" && model !== "nano")) && is(f, format) && (w === work || (w === "*" && !isNamed(work)));
  };
  const all = grid.flatMap(({ model, formats }) => formats.map((format) => ({ model, format })));
  for (const filter of filters) {
    if (!all.some((plan) => allWorks.some((work) => fits(filter, plan, work))))
      throw new Error(`--only: expected model/format/work of those in --help, found ${JSON.stringify(filter)}`);
  }
  return all
    .map((plan) => ({ ...plan, works: allWorks.filter((work) => filters.some((filter) => fits(filter, plan, work))) }))
    .filter(({ works }) => works.length > 0);
}

export interface Limits {
  readonly level: string;
  readonly threads: number;
  readonly readBytesPerSecond: number;
  readonly int8OpsPerSecond: number;
  readonly bf16FlopsPerSecond: number;
  readonly f32FlopsPerSecond: number;
}

/** What the machine could do at best, in the work's unit; for memory, what must be there. */
export function limitOf(
  work: Work,
  format: string,
  costs: ReturnType<typeof costsOf>,
  limits: Limits,
  context: number,
): number | undefined {
  const { tokens } = works[work];
  if (work === "memory") return (costs.weightBytes + costs.stateBytes(context)) / 1e6;
  if (work.startsWith("prefill")) {
    const peak = format === "bf16" ? limits.bf16FlopsPerSecond : limits.int8OpsPerSecond;
    return (peak / costs.prefillOps(tokens)) * tokens;
  }
  return work.startsWith("decode") ? limits.readBytesPerSecond / costs.decodeBytes(tokens) : undefined;
}
