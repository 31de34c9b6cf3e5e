// One model as routes see it: what it is called, itself while it is there, who may still come. Knows no HTTP.

import { createHash, randomUUID } from "node:crypto";
import {
  type GenerateOptions,
  JambaError,
  type JambaModel,
  type Part,
  type Prompt,
  type ReadingOptions,
  type Result,
  type Tenant,
  type TextStream,
} from "jamba";
import { ApiError, modelFailed, modelLoading, shuttingDown, tooManyRequests } from "./errors.ts";
import { followFor } from "./follow.ts";
import { Metrics } from "./metrics.ts";
import { expectInRange } from "./ranges.ts";
import { Slots } from "./slots.ts";

export interface AppOptions {
  /** The model's id for clients, in place of its name; the name stays valid too. */
  alias?: string;
  /** Any of these must come as `Authorization: Bearer …` or `x-api-key`. Without any, whoever reaches the port may ask. */
  apiKeys?: readonly string[];
  /** Origins whose pages may ask from a browser, or "*"; none if not given. */
  cors?: readonly string[];
  /** 4 MiB if not given: some three times a context of 262,144 tokens. Texts become tokens at once, during which all others wait. */
  maxBodyBytes?: number;
  /**
   * Bytes of all bodies that are being read or answered; 64 MiB if not given, and no less than `maxBodyBytes`. Beyond it others wait a little,
   * then are told to come back later (503); of a key's bodies half of it is held at most.
   */
  maxBodyBytesInFlight?: number;
  /** The most that an answer may take, waiting included; 10 minutes if not given. An answer that has begun ends there as if `max_tokens` had. */
  requestTimeoutMs?: number;
  /** Requests of one key that may wait for room before more of it are told to come back later (429), however many answers each is for; 64 if not given. */
  maxQueue?: number;
  /** The most new tokens of an answer, whatever the request says; 32,768 if not given. */
  maxTokens?: number;
  /** The most answers that one request may ask for: `n`, or `best_of`, for each of its prompts; 128 if not given. */
  maxChoices?: number;
  /**
   * What requests of one key find of what those of another have read: nothing ("none", if not given), the state after the same system
   * messages ("system"), or all ("all"). Who shares may learn what others have asked, by asking the same and being told that it is cached.
   */
  shareCache?: Tenant["shares"];
  /** Where neither the request nor the model's generation_config.json says: 1 as OpenAI's if not given, and 0 always takes the most probable token. */
  temperature?: number;
  /** Accept `grammar`. A grammar is a program of its sender, compiled within bounds on work and memory. */
  allowGrammars?: boolean;
  /** A folder for conversations that /slots saves. Without it there are no slots. */
  slotsDir?: string;
  /** Whether slots are saved there when the server ends, as `on-exit-MODEL-SLOT`, and come back when it starts again. */
  saveOnExit?: boolean;
  /** How many slots; 4 if not given. */
  slots?: number;
  /** Bytes of responses that are kept in memory for `previous_response_id`, the newest; 64 MiB if not given, and 0 keeps none. */
  maxResponseBytes?: number;
  /** Silence after which a stream says that it is still there; 10 seconds if not given. */
  pingMs?: number;
  /** Takes one object for each request, without anything that was asked or answered. */
  log?: (line: object) => void;
}

/** All that an application may want to know of its options. */
export type AppSettings = AppOptions & typeof defaults;

const defaults = {
  apiKeys: [] as readonly string[],
  cors: [] as readonly string[],
  maxBodyBytes: 4 * 2 ** 20,
  maxBodyBytesInFlight: 64 * 2 ** 20,
  requestTimeoutMs: 600_000,
  maxQueue: 64,
  maxTokens: 32_768,
  maxChoices: 128,
  shareCache: "none" as NonNullable<Tenant["shares"]>,
  temperature: 1,
  allowGrammars: false,
  saveOnExit: false,
  slots: 4,
  maxResponseBytes: 64 * 2 ** 20,
  pingMs: 10_000,
  log: () => undefined,
};

/** @throws JambaError OPTION */
export function settingsOf(options: AppOptions): AppSettings {
  expectInRange(options);
  const given = { ...defaults, ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) };
  const { maxBodyBytes, shareCache } = given;
  if (!["none", "system", "all"].includes(shareCache))
    throw new JambaError("OPTION", `shareCache: expected "none", "system" or "all", found ${JSON.stringify(shareCache)}`);
  if (given.saveOnExit && options.slotsDir === undefined)
    throw new JambaError("OPTION", "saveOnExit: expected slotsDir beside it, found none; there is no folder to save to");
  return { ...given, maxBodyBytesInFlight: Math.max(given.maxBodyBytesInFlight, maxBodyBytes) };
}

/** New tokens where neither the request nor the model says how many: the engine's own default. */
const defaultMaxTokens = 1024;

/** An answer on its way. */
export interface Answer {
  readonly parts: AsyncIterable<Part>;
  /** Once `parts` has ended. */
  result(): Promise<Result>;
}

export class Service {
  readonly options: AppSettings;
  /** The model's id. */
  readonly id: string;
  readonly name: string;
  readonly created = unixSeconds();
  readonly metrics: Metrics;
  readonly slots: Slots | undefined;
  /** When a request last asked for the model or was done with it, in Unix seconds. */
  lastUsed: number | undefined;
  /** How often the model came. */
  loads = 0;
  /** One for each answer under way. */
  readonly #running = new Set<AbortController>();
  #model: JambaModel | undefined;
  #failed: unknown;
  /** Once slots of an earlier server are back. */
  #restored: Promise<void> | undefined;
  /** Requests under way by tenant, each by its signal, with how many answers of it are. */
  readonly #requests = new Map<string | undefined, Map<AbortSignal, number>>();

  /** @param model undefined for one that comes and goes: see `become` */
  constructor(model: JambaModel | Promise<JambaModel> | undefined, name: string, options: AppOptions = {}, metrics?: Metrics) {
    this.options = settingsOf(options);
    this.name = name;
    this.id = options.alias ?? name;
    this.metrics = metrics ?? new Metrics(() => [this]);
    if (this.options.slotsDir !== undefined) this.slots = new Slots(this.options.slotsDir, this.options.slots);
    // At once where it can be, so that a loaded model is there for the first request.
    if (model instanceof Promise) {
      model.then(
        (loaded) => this.become(loaded),
        (error) => {
          this.#failed = error;
        },
      );
    } else if (model) this.become(model);
  }

  get loaded(): JambaModel | undefined {
    return this.#model;
  }

  /** @throws ApiError while there is none */
  get model(): JambaModel {
    if (this.#model) return this.#model;
    if (this.#failed) throw modelFailed(this.#failed);
    throw modelLoading();
  }

  /** @param model undefined when it goes; what counts of it stays */
  become(model: JambaModel | undefined): void {
    if (model && this.loads++ === 0) this.#restored = this.#restoreSlots(model);
    if (!model && this.#model) this.metrics.retire(this.#model);
    this.#model = model;
  }

  /** What an answer is drawn with where its request does not say. */
  get defaults(): Partial<GenerateOptions> & { temperature: number } {
    return { temperature: this.options.temperature, ...this.model.defaults };
  }

  /** Of what computes: model, dtypes and device. */
  get fingerprint(): string {
    const { device, dtypes } = this.model;
    return `fp_${[device.kind, ...dtypes].join("_")}`;
  }

  /**
   * Starts an answer. Reading its parts drives it; leaving the loop cancels it.
   * @param session answers in place of the model
   * @param before what is to be done first, within the answer's time; tokens of the prompt that it reads are not told as cached
   * @throws ApiError 429 when too many wait, JambaError for options and prompts that do not fit
   */
  answer(
    prompt: Prompt,
    { signal = new AbortController().signal, formatMs = 0, ...options }: AnswerOptions,
    session?: TextStreamer,
    before?: Before,
  ): Answer {
    const { model } = this;
    const tenant = nameOf(options.tenant);
    this.#expectRoom(signal, tenant);
    const controller = new AbortController();
    const { temperature, maxTokens = defaultMaxTokens } = this.defaults;
    const stream = (session ?? model.stream.bind(model))(prompt, {
      ...options,
      temperature: options.temperature ?? temperature,
      maxTokens: Math.min(options.maxTokens ?? maxTokens, this.options.maxTokens),
      signal: controller.signal,
    });
    let beforeMs: number | undefined;
    const result = async () => {
      const found = later(await stream.result, formatMs, { formatMs });
      return beforeMs === undefined ? found : readBefore(found, beforeMs);
    };
    const read =
      before &&
      (async () => {
        const start = performance.now();
        await before(controller.signal);
        beforeMs = performance.now() - start;
      });
    return { parts: this.#counted({ stream, result, read }, { controller, signal, tenant }), result };
  }

  /**
   * What `work` finds in texts, within the time of an answer.
   * @throws as `answer`; what `work` throws, the reason of its signal among it
   */
  async read<T>(work: (model: JambaModel, options: ReadFor) => Promise<T>, { left, tenant }: Reader): Promise<T> {
    const leave = this.enter(left.signal, nameOf(tenant));
    const controller = new AbortController();
    const unfollow = followFor(controller, left.signal, this.options.requestTimeoutMs);
    this.#running.add(controller);
    try {
      return await work(this.model, { tenant, signal: controller.signal });
    } finally {
      unfollow();
      this.#running.delete(controller);
      leave();
    }
  }

  /**
   * What is cheap to know of a prompt, before anything is compiled for its answer.
   * @throws JambaError CONTEXT_FULL, and what it can't be read for, where it is long
   */
  async expectFits(prompt: Prompt, options: GenerateOptions): Promise<void> {
    const { model } = this;
    const { contextLength } = model;
    if (options.truncation === "auto" || !isLonger(prompt, contextLength)) return;
    const tokens = await model.countTokensAsync(prompt, options);
    if (tokens > contextLength)
      throw new JambaError("CONTEXT_FULL", `prompt: expected at most contextLength = ${contextLength} tokens, found ${tokens}; shorten it`);
  }

  /** A request counts once, however many answers it is for, and for its own tenant. @throws ApiError 429 */
  #expectRoom(request: AbortSignal, tenant: string | undefined): void {
    const own = this.#requests.get(tenant);
    if (!own || own.has(request)) return;
    if (own.size - this.model.calls(tenant).running >= this.options.maxQueue) throw tooManyRequests();
  }

  /**
   * Takes a place among the requests under way; its answers share it.
   * @returns what is called when the answer, or the request, has ended
   * @throws ApiError 429 when too many wait
   */
  enter(request: AbortSignal, tenant: string | undefined): () => void {
    this.#expectRoom(request, tenant);
    const own = this.#requests.get(tenant) ?? new Map<AbortSignal, number>();
    this.#requests.set(tenant, own);
    const add = (count: number) => {
      const answers = (own.get(request) ?? 0) + count;
      if (answers > 0) own.set(request, answers);
      else own.delete(request);
    };
    add(1);
    return () => add(-1);
  }

  async *#counted(
    { stream, result, read }: { stream: TextStream; result: () => Promise<Result>; read?: () => Promise<void> },
    { controller, signal, tenant }: { readonly controller: AbortController; readonly signal: AbortSignal; readonly tenant?: string },
  ): AsyncGenerator<Part, void> {
    // Again: others may have begun since this one was asked for.
    const leave = this.enter(signal, tenant);
    this.#running.add(controller);
    const unfollow = followFor(controller, signal, this.options.requestTimeoutMs);
    // Cut short by a timeout it is a whole answer of its kind; cut short by the end of the server it is none.
    const expectServing = () => {
      if (controller.signal.reason instanceof ApiError) throw controller.signal.reason;
    };
    try {
      // Not awaited where there is nothing: a slot's turns begin in the order in which they were asked for.
      if (read) await read();
      for await (const part of stream) {
        this.metrics.drew(part.ids.length);
        expectServing();
        yield part;
      }
      expectServing();
      const whole = await stream.result;
      const isEmpty = (whole.choices ?? [whole]).every(({ finishReason, ids }) => finishReason === "cancelled" && ids.length === 0);
      if (isEmpty) throw whole.cancelReason;
    } finally {
      unfollow();
      // An answer that has not begun is not drawn for its result alone.
      controller.abort();
      this.#running.delete(controller);
      leave();
      // Also of an answer that was cancelled after its first token.
      await result().then(
        (whole) => this.metrics.answered(whole),
        () => undefined,
      );
    }
  }

  /** Cancels every answer under way. */
  stop(): void {
    for (const controller of this.#running) controller.abort(shuttingDown());
  }

  async dispose(): Promise<void> {
    const { slots, id, options } = this;
    await this.#restored;
    const tellLost = (error: unknown) => options.log({ event: "slots lost", model: id, code: (error as { code?: unknown }).code });
    if (slots && options.saveOnExit) await slots.saveAll(id).catch(tellLost);
    await slots?.dispose();
  }

  /** Those that an earlier server saved at its end. */
  async #restoreSlots(model: JambaModel): Promise<void> {
    const { slots, id, options } = this;
    if (!slots || !options.saveOnExit) return;
    const tenants = options.apiKeys.length === 0 ? [undefined] : options.apiKeys.map((key) => tenantOf(key, options.shareCache));
    const tell = (error: unknown) => options.log({ event: "slot not restored", model: id, code: (error as ApiError).details?.code });
    await slots.restoreAll(id, model, tenants, tell);
  }
}

/** By the key's digest, never the key itself. */
export function tenantOf(key: string, shares: Tenant["shares"]): Tenant {
  return { name: createHash("sha256").update(key).digest("hex"), shares };
}

export function unixSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

/** Whether it has more characters, or token ids, so that it may be too long. */
function isLonger(prompt: Prompt, most: number): boolean {
  let length = 0;
  for (const part of typeof prompt === "string" ? [prompt] : prompt) {
    length += typeof part === "string" ? part.length : typeof part === "number" ? 1 : JSON.stringify(part).length;
    if (length > most) return true;
  }
  return false;
}

function nameOf(tenant: GenerateOptions["tenant"]): string | undefined {
  return typeof tenant === "object" ? tenant.name : tenant;
}

/** What calls that read need of their request. */
export type ReadFor = Required<Pick<ReadingOptions, "signal">> & ReadingOptions;

/** An exchange. */
interface Reader extends Pick<ReadingOptions, "tenant"> {
  readonly left: AbortController;
}

export type Before = (signal: AbortSignal) => Promise<void>;

/** Of an answer whose prompt was read by what came before it. @param ms that this took */
function readBefore(result: Result, ms: number): Result {
  return { ...later(result, ms), usage: { ...result.usage, cachedTokens: 0 }, cacheMissReason: undefined };
}

/** Of an answer before which something else was done for its request. */
function later(result: Result, ms: number, { formatMs: compileMs = 0 } = {}): Result {
  const { promptMs, firstTokenMs, totalMs, formatMs, ...rest } = result.timings;
  const timings = { promptMs: promptMs + ms, firstTokenMs: firstTokenMs + ms, totalMs: totalMs + ms, formatMs: formatMs + compileMs };
  return { ...result, timings: { ...rest, ...timings } };
}

interface AnswerOptions extends GenerateOptions {
  /** The request's: all answers of one come with the same. */
  readonly signal?: AbortSignal;
  /** Milliseconds that went into its format before it began. */
  readonly formatMs?: number;
}

export type TextStreamer = (prompt: Prompt, options: GenerateOptions) => TextStream;

/** `chatcmpl-…`, `call_…` and the like. */
export function newId(prefix: string): string {
  return prefix + randomUUID().replaceAll("-", "");
}
