// What a page does with jamba, for a test outside to call one by one: `trial.NAME(...)`.

import { type JambaModel, type LoadOptions, listDevices, loadModel, type Message, type WrappedTool } from "jamba";

/** A line of tooling/tiny-model/eval/expected.jsonl. */
export interface Expected {
  readonly prompt?: string;
  readonly messages?: Message[];
  readonly tools?: WrappedTool[];
  readonly documents?: unknown[];
  readonly knobs?: Record<string, unknown>;
  readonly promptIds: readonly number[];
  readonly newIds: readonly number[];
  readonly text: string;
}

const files = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
const warnings: string[] = [];
let model: JambaModel | undefined;

const loaded = (): JambaModel => {
  if (!model) throw new Error("expected load() first");
  return model;
};

/** As from an input of files. */
async function fetched(): Promise<File[]> {
  return Promise.all(files.map(async (name) => new File([await (await fetch(`model/${name}`)).blob()], name)));
}

/** What this page is, and what of the platform it lacks. */
function place() {
  return {
    isolated: crossOriginIsolated,
    sharedMemory: typeof SharedArrayBuffer === "function",
    asyncDispose: "asyncDispose" in Symbol,
    processors: navigator.hardwareConcurrency,
  };
}

async function load(from: "url" | "files", options: LoadOptions = {}) {
  await model?.dispose();
  warnings.length = 0;
  const source = from === "url" ? new URL("model/", location.href).href : await fetched();
  model = await loadModel(source, { backend: "wasm", onWarning: (warning) => warnings.push(warning), ...options });
  const { device, dtypes } = model;
  return { device: { ...device }, dtypes, warnings: [...warnings] };
}

async function answer({ prompt, messages, tools, documents, knobs }: Expected, maxTokens = 64) {
  const { ids, text, finishReason } = await loaded().generate(prompt ?? messages!, { maxTokens, tools, documents, knobs });
  return { ids, text, finishReason };
}

/** How likely the model finds a text: the mean log probability of its tokens. */
async function likes({ promptIds, newIds }: Expected) {
  return (await loaded().score(promptIds, newIds)).logprob / newIds.length;
}

/** Parts as they come, and the result that they add up to. */
async function stream(prompt: string, maxTokens: number) {
  const stream = loaded().stream(prompt, { maxTokens });
  const parts: string[] = [];
  for await (const { text } of stream) parts.push(text);
  return { parts, text: (await stream.result).text };
}

/** A page has no files: a conversation's state leaves as host tensors, and comes back to a model that knows nothing of it. */
async function reopen(prompt: string) {
  const first = loaded();
  const ids = first.tokenizer.encode(prompt, { addBos: true });
  const { state } = await first.forward(ids);
  const host = await state.export();
  const { text } = await first.generate(ids, { maxTokens: 12 });
  state.dispose();
  const session = first.session();
  await session.send("Who are you?", { maxTokens: 4 });
  const saved = await session.save("here").then(
    () => "saved",
    (error) => error.code,
  );
  await session.dispose();
  first.clearCache();
  await first.keep(ids, host, { isOwn: true });
  const again = await first.generate([...ids, ...first.tokenizer.encode(",")], { maxTokens: 11 });
  return { text, again: `,${again.text}`, cachedTokens: again.usage.cachedTokens, ids: ids.length, saved };
}

/** Each message is a turn; the last one is asked again from a fork. */
async function converse(turns: readonly string[], maxTokens: number) {
  const session = loaded().session();
  const said = [];
  for (const turn of turns) {
    const { text, usage } = await session.send(turn, { maxTokens });
    said.push({ text, cached: usage.cachedTokens });
  }
  await session.dispose();
  return said;
}

/** A prompt that takes long, left after a while; then the next call. */
async function leave(tokens: number, afterMs: number, next: string) {
  const controller = new AbortController();
  let left = 0;
  setTimeout(() => {
    left = performance.now();
    controller.abort();
  }, afterMs);
  const prompt = Array.from({ length: tokens }, (_, i) => 300 + (i % 1000));
  const { finishReason, ids } = await loaded().generate(prompt, { maxTokens: 4, signal: controller.signal });
  const ms = performance.now() - left;
  return { finishReason, ids, ms, next: (await loaded().generate(next, { maxTokens: 8 })).text };
}

/** The longest time in which the page could do nothing else while `work` went on. */
async function gapOf<T>(work: () => Promise<T>): Promise<{ value: T; gapMs: number }> {
  let [last, gapMs] = [performance.now(), 0];
  const step = 4;
  const timer = setInterval(() => {
    const now = performance.now();
    gapMs = Math.max(gapMs, now - last - step);
    last = now;
  }, step);
  try {
    return { value: await work(), gapMs };
  } finally {
    clearInterval(timer);
  }
}

/** @returns tokens per second of a prompt's reading, at best of three */
async function rate(tokens: number) {
  let best = 0;
  for (let round = 0; round < 3; round++) {
    loaded().clearCache();
    const prompt = Array.from({ length: tokens }, (_, i) => 300 + ((i * 7 + round) % 1000));
    const start = performance.now();
    await loaded().generate(prompt, { maxTokens: 1, ignoreEos: true });
    best = Math.max(best, (tokens * 1000) / (performance.now() - start));
  }
  return best;
}

async function dispose() {
  await model?.dispose();
  model = undefined;
}

const trial = {
  place,
  devices: async () => (await listDevices()).map(({ backend, usable, reason }) => ({ backend, usable, reason })),
  load,
  answer,
  likes,
  stream,
  reopen,
  converse,
  leave,
  rate,
  dispose,
  gapOfLoad: (...args: Parameters<typeof load>) => gapOf(() => load(...args)),
  gapOfAnswer: (...args: Parameters<typeof answer>) => gapOf(() => answer(...args)),
};
export type Trial = typeof trial;
(globalThis as { trial?: Trial }).trial = trial;
