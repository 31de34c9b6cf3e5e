// What `loadModel` gives: a loaded model with everything that users do with it.

import {
  type DeviceInfo,
  type HostState,
  type HostTensor,
  JambaError,
  type MemoryUse,
  type TensorLocation,
  type WeightDtype,
} from "@jamba/core";
import type { JambaConfig } from "@jamba/loader";
import type { Message, Tokenizer } from "@jamba/tokenizer";
import { type GenerateContext, generate, type Part, type Result } from "./answer/generate.ts";
import { expectKnown } from "./answer/known-names.ts";
import { merged } from "./answer/merged.ts";
import { checkOptions, type GenerateOptions } from "./answer/options.ts";
import {
  callForm,
  continuationIds,
  expectTokenizer,
  isIds,
  type Prompt,
  promptIds,
  type ReadPrompt,
  readPrompt,
  type TextOrIds,
} from "./answer/prompt.ts";
import { atOnce, beside, ifQuick } from "./answer/reading.ts";
import { TextStream } from "./answer/text-stream.ts";
import type { Sequence } from "./engine/advance.ts";
import { ModelState } from "./engine/model-state.ts";
import type { ReadTree } from "./engine/prefix-tree.ts";
import type { Runner } from "./engine/runner.ts";
import type { CompiledFormat } from "./format/compiled-format.ts";
import type { Format } from "./format/format.ts";
import { concatRows, embedTexts, expectFinite, type ReadingOptions, type Score, type ScoreOptions, scoreAll } from "./readings.ts";
import { Session, type SessionOptions } from "./session.ts";

export interface ForwardOptions {
  /** "last" (default): [1, vocabSize]; "all": [L, vocabSize] */
  logits?: "last" | "all";
  /** The residual stream before each layer, and after finalNorm: nLayers + 1 tensors [L, dModel]. */
  hidden?: boolean;
  /** Which experts each token went to. */
  routes?: boolean;
  /**
   * "gpu-buffer": in buffers of the backend's device, which `dispose` of each tensor frees; with a device that `openWebGpuBackend` was given,
   * onnxruntime-web on the same one takes them without a copy. Nobody looks at their values then. "cpu" if not given.
   */
  location?: TensorLocation;
  /** Go on from here instead of from nothing; it is left as it is. */
  state?: ModelState | HostState;
  tenant?: GenerateOptions["tenant"];
  signal?: AbortSignal;
}

export interface ForwardResult {
  readonly logits: HostTensor;
  readonly hidden?: readonly HostTensor[];
  /** By layer; undefined for layers without experts. experts [L, nActiveExperts] int32, best first. */
  readonly routes?: readonly ({ readonly experts: HostTensor; readonly weights: HostTensor } | undefined)[];
  /** After the last token. Holds device memory until it is disposed. */
  readonly state: ModelState;
}

export interface ModelParts extends GenerateContext {
  readonly runner: Runner;
  readonly device: DeviceInfo;
  readonly dtypes: readonly WeightDtype[];
  readonly warnings: readonly string[];
  readonly release: () => Promise<void>;
}

/** A loaded model. Calls may overlap; each gives what it would give alone. */
export class JambaModel implements AsyncDisposable {
  readonly #parts: ModelParts;
  #disposing: Promise<void> | undefined;

  constructor(parts: ModelParts) {
    this.#parts = parts;
  }

  get config(): JambaConfig {
    return this.#parts.runner.config;
  }

  get device(): DeviceInfo {
    return this.#parts.device;
  }

  /** Resolves, with code DEVICE_LOST, when the device is gone: every call rejects with the same, and only another load goes on. */
  get lost(): Promise<JambaError> {
    return this.#parts.runner.backend.lost;
  }

  /** Of the weights as they are held, the one of most numbers first. Norms and some others are always f32. */
  get dtypes(): readonly WeightDtype[] {
    return this.#parts.dtypes;
  }

  /** What was passed over or taken otherwise than the files say, and what to do. */
  get warnings(): readonly string[] {
    return this.#parts.warnings;
  }

  /** @throws TokenizerError when the checkpoint has none */
  get tokenizer(): Tokenizer {
    return expectTokenizer(this.#parts.tokenizer);
  }

  /** Tokens that a conversation may hold. */
  get contextLength(): number {
    return this.#parts.runner.contextLength;
  }

  /** What `generate` uses where an option is not given. */
  get defaults(): Partial<GenerateOptions> {
    return this.#parts.defaults;
  }

  memory(): MemoryUse {
    return this.#parts.runner.backend.memory();
  }

  /** Slots (sequences) and KV pages that states, sessions and running calls hold. */
  inUse(): { slots: number; pages: number } {
    return this.#parts.engine.used;
  }

  /** States that nobody holds, kept because a later prompt may go on from one of them. */
  cached(): { states: number; bytes: number } {
    return this.#parts.engine.kept;
  }

  /** What was read so far and which states of it are kept, as a tree; of all tenants. Plain data, as it is now. */
  readTree(): ReadTree {
    return this.#parts.engine.tree;
  }

  /** Calls that run, and that wait until there is room for them: all, or those for one `tenant`. */
  calls(tenant?: string): { running: number; waiting: number } {
    return this.#parts.engine.calls(tenant);
  }

  /** So far: steps that calls shared, the sequences and tokens in them, and what recording and compiling took beside them. */
  steps(): { steps: number; sequences: number; tokens: number; prepareMs: number } {
    return { ...this.#parts.engine.steps };
  }

  /** Drops every state that `cached` counts. */
  clearCache(): void {
    this.#parts.engine.clear();
  }

  async generate<Parsed = unknown, Arguments = Record<string, unknown>>(
    prompt: Prompt,
    options: GenerateOptions<Parsed, Arguments> = {},
  ): Promise<Result<Parsed>> {
    return this.stream(prompt, options).result;
  }

  stream<Parsed = unknown, Arguments = Record<string, unknown>>(
    prompt: Prompt,
    options: GenerateOptions<Parsed, Arguments> = {},
  ): TextStream<Parsed> {
    const { context } = this.#use();
    const { n = 1, ...given } = checkOptions(options);
    const reading = () => readPrompt(context, prompt, given);
    // What is wrong with a short one shows here.
    const quick = ifQuick(reading());
    const hasRounds = given.runners?.size && !isIds(prompt) && typeof prompt !== "string";
    if (hasRounds && n > 1)
      throw new JambaError("OPTION", `n: expected one answer where tools run, found ${n}; ask so many times, which shares what was read`);
    return new TextStream(given, (signal) => {
      let late: Promise<ReadPrompt> | undefined;
      const read = quick ?? (() => (late ??= beside(reading(), signal)));
      if (hasRounds) return Session.answer(context, prompt as readonly Message[], { ...given, signal });
      if (n === 1) return generate(context, read, { ...given, signal });
      const seed = given.seed ?? Math.floor(Math.random() * 2 ** 52);
      // A signal for each: node warns of a leak where one has many listeners.
      const options = (i: number) => ({ ...given, seed: seed + i, signal: AbortSignal.any([signal]) });
      const answers = Array.from({ length: n }, (_, i) => generate(context, read, options(i)));
      return together(answers);
    });
  }

  session<Arguments = Record<string, unknown>>(options: SessionOptions<Arguments> = {}): Session {
    return Session.open(this.#use().context, options);
  }

  /**
   * A conversation from a file or a blob that `Session.save` wrote.
   * @throws LoadError for a file that is missing or damaged, JambaError SESSION_MISMATCH for one of another model
   */
  async openSession(from: string | Blob, { tenant, signal }: ReadingOptions = {}): Promise<Session> {
    const session = this.session({ tenant });
    await session.load(from, { signal });
    return session;
  }

  /**
   * Puts a state where prompts of `tenant` that begin with `ids` find it, as those are that calls leave.
   * @param isOwn vouches that this model, with these dtypes and on this kind of device, made what is in host tensors
   * @throws JambaError OPTION when it has seen another count of tokens, or was made elsewhere for all that is known, since calls that know
   * nothing of it would go on from it; ShapeError when it is not of this model
   */
  async keep(
    ids: readonly number[],
    state: ModelState | HostState,
    { tenant: given, isOwn = false }: Pick<GenerateOptions, "tenant"> & { isOwn?: boolean } = {},
  ): Promise<void> {
    const { runner, context } = this.#use();
    const { tenant } = checkOptions({ tenant: given });
    runner.expectReadable({ seen: 0, released: false }, ids);
    if (state.seen !== ids.length || ids.length === 0)
      throw new JambaError("OPTION", `keep: expected the ${state.seen} tokens that the state has seen, found ${ids.length}`);
    const { engine } = context;
    const { made, ...sequence } = await this.#sequenceFrom(state);
    if (made && !isOwn) {
      engine.drop(sequence);
      throw new JambaError(
        "OPTION",
        "keep: expected a state that this model made, found one that was imported, which answers of other calls would go on from; pass isOwn if this model made it, or go on from it with forward",
      );
    }
    engine.release(engine.keep(ids, sequence, { tenant }));
  }

  /**
   * Reads `ids` once and returns what was asked for; a long input runs in chunks, which changes nothing but rounding.
   * @throws BackendError for a row of logits without a finite number, as what is drawn from it would, and hidden states with others;
   * JambaError UNSUPPORTED for a location that the backend does not have
   */
  async forward(ids: Iterable<number>, options: ForwardOptions = {}): Promise<ForwardResult> {
    const { runner, context } = this.#use();
    const all = [...ids];
    if (all.length === 0) throw new JambaError("OPTION", "forward: expected at least one token id, found none");
    for (const name of Object.keys(options)) expectKnown(name, ["logits", "hidden", "routes", "location", "state", "tenant", "signal"]);
    const { logits = "last", hidden, routes, location = "cpu", state, signal } = options;
    const { tenant } = checkOptions({ tenant: options.tenant });
    if (logits !== "last" && logits !== "all")
      throw new JambaError("OPTION", `logits: expected "last" or "all", found ${JSON.stringify(logits)}`);
    const { deviceTensors } = runner.backend;
    if (location !== "cpu" && !(location === "gpu-buffer" && deviceTensors))
      throw new JambaError(
        location === "gpu-buffer" ? "UNSUPPORTED" : "OPTION",
        `location: expected ${deviceTensors ? '"cpu" or "gpu-buffer"' : `"cpu" on the ${this.device.kind} backend`}, found ${JSON.stringify(location)}`,
      );
    const onDevice = location === "gpu-buffer";
    const { nLayers, ffnKinds } = this.config;
    const names = [
      "logits",
      ...(hidden ? Array.from({ length: nLayers + 1 }, (_, i) => `hidden.${i}`) : []),
      ...(routes ? ffnKinds.flatMap((kind, i) => (kind === "moe" ? [`experts.${i}`, `routeWeights.${i}`] : [])) : []),
    ];
    const chunks = new Map(names.map((name) => [name, [] as HostTensor[]]));
    const release = () => {
      if (onDevice) for (const tensor of [...chunks.values()].flat()) tensor.dispose();
    };
    const sequence = await context.engine
      .readThrough(all, {
        from: state && (await this.#sequenceFrom(state)),
        reads: { logits: onDevice ? "keep" : "read", hidden: hidden ? "all" : undefined, routes, keeps: onDevice || undefined },
        rows: logits === "all" ? all.length : 1,
        take: async ({ step, tokens, rows }) => {
          for (const [name, list] of chunks) {
            const [from, to] = name === "logits" ? rows : tokens;
            if (to > from) list.push(await step.read(name, [from, to], location));
          }
          return undefined;
        },
        tenant,
        signal,
      })
      .catch((error) => {
        release();
        throw error;
      });
    const whole = new Map<string, HostTensor>();
    try {
      for (const [name, list] of chunks) {
        const tensor = onDevice ? await deviceTensors!.join(list) : concatRows(list);
        chunks.set(name, [tensor]);
        whole.set(name, tensor);
        if (!onDevice) expectFinite(name, tensor);
      }
    } catch (error) {
      release();
      context.engine.drop(sequence);
      throw error;
    }
    const joined = (name: string) => whole.get(name)!;
    return {
      logits: joined("logits"),
      hidden: hidden ? Array.from({ length: nLayers + 1 }, (_, i) => joined(`hidden.${i}`)) : undefined,
      routes: routes
        ? ffnKinds.map((kind, i) =>
            kind === "moe" ? { experts: joined(`experts.${i}`), weights: joined(`routeWeights.${i}`) } : undefined,
          )
        : undefined,
      state: new ModelState(runner, sequence, idsAfter(state, all)),
    };
  }

  /**
   * A vector of length 1 for each text: the direction of its tokens' mean final hidden state, so that a dot product of two is their cosine.
   * [texts, dModel], f32
   *
   * Jamba was not trained as an embedder: neighbours in this space are roughly alike, no more. An empty text is what the token says that
   * begins every text; a mean of zeros stays zeros.
   * @throws JambaError OPTION for an empty text where no token begins texts, CONTEXT_FULL, the signal's reason; BackendError for hidden
   * states that are no finite numbers
   */
  async embed(texts: string | readonly string[], { tenant, request, signal }: ReadingOptions = {}): Promise<HostTensor> {
    return embedTexts(this.#use().context, this.config, [texts].flat(), { ...checkOptions({ tenant, request }), signal });
  }

  /**
   * Log probability of `continuation` after `prompt`: the sum, and per token. Of several continuations each, in the same order and as it
   * is alone; the prompt is read once for all of them, and equal ones are read once.
   *
   * Texts become tokens apart from each other, so that a prompt's are the same whatever follows: where the two joined would have a token
   * that reaches over the border ("Once upon a ti" and "me"), the continuation is scored as it is cut here. Write the space before a word
   * at the continuation, or pass ids. An empty continuation has log probability 0 and no tokens; an empty array is one without ids.
   * @throws JambaError OPTION without a prompt, for what is neither text nor ids or an unknown option, CONTEXT_FULL, ShapeError for ids beyond the
   * vocabulary, the signal's reason
   */
  async score(prompt: TextOrIds, continuation: TextOrIds, options?: ScoreOptions): Promise<Score>;
  async score(prompt: TextOrIds, continuations: readonly TextOrIds[], options?: ScoreOptions): Promise<Score[]>;
  async score(prompt: TextOrIds, continuation: TextOrIds | readonly TextOrIds[], options: ScoreOptions = {}): Promise<Score | Score[]> {
    const { context } = this.#use();
    for (const name of Object.keys(options)) expectKnown(name, ["topLogprobs", "keep", "tenant", "request", "signal"]);
    const { topLogprobs, request } = options;
    const { tenant } = checkOptions({ topLogprobs, request, tenant: options.tenant });
    const before = await beside(promptIds(context.tokenizer, prompt), options.signal);
    const isOne = typeof continuation === "string" || isIds(continuation);
    const list: (readonly number[])[] = [];
    for (const one of isOne ? [continuation] : continuation)
      list.push(await beside(continuationIds(context.tokenizer, one), options.signal));
    const scores = await scoreAll(context, before, list, { ...options, tenant });
    return isOne ? scores[0] : scores;
  }

  /**
   * A format on its own, compiled once: what it takes, what may follow a beginning, what it leaves open and what it cost.
   * @throws JambaError OPTION for a format that is wrong or can't be enforced, UNSUPPORTED for a model without an end, the signal's reason
   */
  async format(format: Format, { signal }: { signal?: AbortSignal } = {}): Promise<CompiledFormat> {
    const { constraints, tokenizer } = this.#use().context;
    if (!constraints) expectTokenizer(tokenizer);
    return constraints!.compile(checkOptions({ format }).format!, signal);
  }

  /**
   * What answers with these options are not bound to: keywords of schemas that are not strict, by their paths in the options, such as
   * `format.schema.properties.name.not` or `tools[0].function.parameters.if` (in whichever form the tools are written). They are
   * compiled for that, so that the answer itself mostly need not wait.
   * @throws JambaError OPTION for a schema that is wrong, or strict with a keyword that can't be enforced; the signal's reason
   */
  async notEnforced<Parsed = unknown, Arguments = Record<string, unknown>>(
    options: GenerateOptions<Parsed, Arguments>,
  ): Promise<readonly string[]> {
    const { constraints, tokenizer } = this.#use().context;
    const { format, tools, toolChoice, parallelToolCalls, tenant, signal } = checkOptions(options as GenerateOptions);
    const form = callForm(tokenizer);
    if (!constraints || (!format && (!form || !tools?.length))) return [];
    return constraints.notEnforced({ format, tools: form && tools, toolChoice, parallelToolCalls, form }, { tenant, signal });
  }

  /** Tokens of `prompt` as `generate` with the same options would read it. @throws as `generate` does for what it can't read */
  countTokens<Parsed = unknown, Arguments = Record<string, unknown>>(
    prompt: Prompt,
    options: GenerateOptions<Parsed, Arguments> = {},
  ): number {
    const { context } = this.#use();
    return isIds(prompt) ? prompt.length : atOnce(readPrompt(context, prompt, checkOptions(options))).ids.length;
  }

  /** The same, and others have their turns while a long prompt is read. @throws as `countTokens`, the signal's reason */
  async countTokensAsync<Parsed = unknown, Arguments = Record<string, unknown>>(
    prompt: Prompt,
    options: GenerateOptions<Parsed, Arguments> = {},
  ): Promise<number> {
    const { context } = this.#use();
    return isIds(prompt) ? prompt.length : (await beside(readPrompt(context, prompt, checkOptions(options)), options.signal)).ids.length;
  }

  /** Calls that are under way reject with code DISPOSED. */
  dispose(): Promise<void> {
    this.#disposing ??= this.#parts.release();
    return this.#disposing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #use(): { runner: Runner; context: GenerateContext } {
    if (this.#disposing) throw new JambaError("DISPOSED", "model: expected an open one, found it disposed");
    return { runner: this.#parts.runner, context: this.#parts };
  }

  #sequenceFrom(state: ModelState | HostState): Promise<Sequence> {
    const { runner } = this.#parts;
    return state instanceof ModelState ? state.toSequence(runner) : runner.importHost(state);
  }
}

/** What a state has read that went on with `ids`, if that is known. */
function idsAfter(state: ModelState | HostState | undefined, ids: readonly number[]): readonly number[] | undefined {
  if (!state) return ids;
  return state instanceof ModelState ? state.ids && [...state.ids, ...ids] : undefined;
}

/** Answers that come at the same time, as one stream; each ends with a part that has its result. */
async function* together(answers: readonly AsyncGenerator<Part, Result>[]): AsyncGenerator<Part, Result> {
  const choices: Result[] = [];
  try {
    for await (const { at: index, found } of merged(answers)) {
      if (!found.done) yield { ...found.value, index };
      else {
        choices[index] = found.value;
        yield { text: "", pieces: [], ids: [], index, result: found.value };
      }
    }
  } finally {
    // Where one failed the others would hold their states for ever.
    await Promise.allSettled(answers.map((answer) => answer.return(undefined as never)));
  }
  const { promptTokens } = choices[0].usage;
  // The first one read what the others went on from.
  const begun = choices.filter(({ ids }) => ids.length > 0);
  const cachedTokens = begun.length === 0 ? 0 : Math.min(...begun.map(({ usage }) => usage.cachedTokens));
  const completionTokens = choices.reduce((sum, { usage }) => sum + usage.completionTokens, 0);
  return { ...choices[0], usage: { promptTokens, cachedTokens, completionTokens }, choices };
}
