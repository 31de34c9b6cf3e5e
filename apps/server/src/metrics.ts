// Counts what a server does, for Prometheus and for whoever asks with `stats()`. llama.cpp's names, so that its dashboards fit.

import type { JambaModel, Result } from "jamba";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { SocketCounts } from "./sockets.ts";

const prefix = "jamba_";

/** Seconds over which tokens per second are told. */
const window = 10;

export interface ServerStats {
  readonly requests: { readonly running: number; readonly waiting: number; readonly total: number };
  /** Drawn, of all answers together, over the last 10 seconds. */
  readonly tokensPerSecond: number;
  readonly promptTokens: number;
  /** Of `promptTokens`: those that a kept state had read before. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Bytes: of the model's weights, of states that run or are kept, and of the whole process. */
  readonly memory: { readonly weights: number; readonly states: number; readonly process: number };
}

/** A model that may come and go. */
interface Watched {
  readonly id: string;
  readonly loaded: JambaModel | undefined;
  readonly loads: number;
}

export class Metrics {
  readonly registry = new Registry();
  requests = 0;
  promptTokens = 0;
  cachedTokens = 0;
  completionTokens = 0;
  /** What the server holds of its clients' at the moment, so that a leak shows. */
  readonly held = { bodyBytes: () => 0, responses: () => 0, responseBytes: () => 0 };
  readonly sockets: SocketCounts = { open: 0, refused: 0, closedIdle: 0 };
  #longest = 0;
  /** Of models that are gone. */
  readonly #retired = { steps: 0, sequences: 0 };
  readonly #watched: () => readonly Watched[];
  /** Tokens drawn, by second. */
  readonly #drawn = new Map<number, number>();
  readonly #http = this.#counter("http_requests_total", "Requests answered, by route and status", ["route", "status"]);
  readonly #promptTokens = this.#counter("prompt_tokens_total", "Prompt tokens that were read, without cached ones");
  readonly #promptSeconds = this.#counter("prompt_seconds_total", "Seconds that reading prompts took, waiting included");
  readonly #predictedTokens = this.#counter("tokens_predicted_total", "Tokens that were drawn");
  readonly #predictedSeconds = this.#counter("tokens_predicted_seconds_total", "Seconds from prompts to the ends of answers");
  readonly #cacheQueries = this.#counter("prefix_cache_queries_tokens_total", "Prompt tokens that were asked of the cache");
  readonly #cacheHits = this.#counter("prefix_cache_hits_tokens_total", "Prompt tokens that a kept state had read before");
  readonly #drafted = this.#counter("spec_decode_num_draft_tokens_total", "Tokens that were tried ahead");
  readonly #accepted = this.#counter("spec_decode_num_accepted_tokens_total", "Tokens tried ahead that answers have");
  readonly #formatSeconds = this.#counter(
    "format_seconds_total",
    "Seconds that answers waited until their formats and tools were compiled",
  );
  readonly #forced = this.#counter("forced_tokens_total", "Tokens that a format left no choice about: read, not drawn");
  readonly #firstToken = this.#histogram(
    "ttft_seconds",
    "From a request to its first token",
    [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300],
  );
  readonly #betweenTokens = this.#histogram(
    "inter_token_seconds",
    "Mean time between an answer's tokens",
    [0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 3],
  );
  readonly #whole = this.#histogram(
    "e2e_seconds",
    "From a request to the end of its answer",
    [0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000],
  );

  constructor(watched: () => readonly Watched[]) {
    this.#watched = watched;
    const registers = [this.registry];
    const sum = (of: (model: JambaModel) => number) => this.#sum(of);
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    const steps = () => {
      const { steps, sequences } = this.#retired;
      return { steps: steps + sum((model) => model.steps().steps), sequences: sequences + sum((model) => model.steps().sequences) };
    };
    new Counter({
      name: `${prefix}n_decode_total`,
      help: "Steps of the model that calls shared",
      registers,
      collect() {
        this.reset();
        this.inc(steps().steps);
      },
    });
    gauge(`${prefix}n_busy_slots_per_decode`, "Calls in a shared step, on average", () => steps().sequences / Math.max(1, steps().steps));
    gauge(`${prefix}requests_processing`, "Calls that run", () => sum((model) => model.calls().running));
    gauge(`${prefix}requests_deferred`, "Calls that wait until there is room", () => sum((model) => model.calls().waiting));
    gauge(`${prefix}n_tokens_max`, "Tokens of the longest conversation", () => this.#longest);
    gauge(`${prefix}predicted_tokens_seconds`, "Tokens drawn per second, over the last 10", () => this.tokensPerSecond());
    gauge(`${prefix}state_snapshots`, "States kept for later prompts", () => sum((model) => model.cached().states));
    gauge(`${prefix}state_snapshots_bytes`, "Bytes of states kept for later prompts", () => sum((model) => model.cached().bytes));
    gauge(`${prefix}weights_bytes`, "Bytes of the models' weights", () => sum((model) => model.memory().weightBytes));
    gauge(`${prefix}states_bytes`, "Bytes set aside for states", () => sum((model) => model.memory().stateBytes));
    new Gauge({
      name: `${prefix}model_loaded`,
      help: "1 while a model is there, else 0",
      labelNames: ["model"],
      registers,
      collect() {
        for (const { id, loaded } of watched()) this.set({ model: id }, Number(loaded !== undefined));
      },
    });
    new Counter({
      name: `${prefix}model_loads_total`,
      help: "How often a model was loaded",
      labelNames: ["model"],
      registers,
      collect() {
        this.reset();
        for (const { id, loads } of watched()) this.inc({ model: id }, loads);
      },
    });
    gauge(`${prefix}connections`, "Connections that are open", () => this.sockets.open);
    gauge(`${prefix}connections_refused`, "Connections that were turned away since the start", () => this.sockets.refused);
    gauge(
      `${prefix}connections_closed_idle`,
      "Connections closed while they asked nothing, since the start",
      () => this.sockets.closedIdle,
    );
    gauge(`${prefix}state_slots_used`, "Slots that states of calls and of conversations take", () => sum((model) => model.inUse().slots));
    gauge(`${prefix}state_pages_used`, "Pages of keys and values that they take", () => sum((model) => model.inUse().pages));
    gauge(`${prefix}body_bytes`, "Bytes of requests that are being read or answered", () => this.held.bodyBytes());
    gauge(`${prefix}responses_kept`, "Responses kept for previous_response_id", () => this.held.responses());
    gauge(`${prefix}responses_kept_bytes`, "Bytes of these", () => this.held.responseBytes());
    gauge("process_resident_memory_bytes", "Bytes of the process in memory", () => process.memoryUsage.rss());
  }

  /** Counts on after `model` is gone. */
  retire(model: JambaModel): void {
    const { steps, sequences } = model.steps();
    this.#retired.steps += steps;
    this.#retired.sequences += sequences;
  }

  stats(): ServerStats {
    const { requests, promptTokens, cachedTokens, completionTokens } = this;
    const sum = (of: (model: JambaModel) => number) => this.#sum(of);
    return {
      requests: { running: sum((model) => model.calls().running), waiting: sum((model) => model.calls().waiting), total: requests },
      tokensPerSecond: this.tokensPerSecond(),
      promptTokens,
      cachedTokens,
      completionTokens,
      memory: {
        weights: sum((model) => model.memory().weightBytes),
        states: sum((model) => model.memory().stateBytes),
        process: process.memoryUsage.rss(),
      },
    };
  }

  request(route: string, status: number): void {
    this.requests++;
    this.#http.inc({ route, status });
  }

  drew(tokens: number): void {
    const second = Math.floor(performance.now() / 1000);
    this.#drawn.set(second, (this.#drawn.get(second) ?? 0) + tokens);
    for (const old of this.#drawn.keys()) if (old < second - window) this.#drawn.delete(old);
  }

  tokensPerSecond(): number {
    const second = Math.floor(performance.now() / 1000);
    let sum = 0;
    // The second that runs is not over yet.
    for (const [at, tokens] of this.#drawn) if (at < second && at >= second - window) sum += tokens;
    return sum / window;
  }

  answered({ usage, timings, speculation, choices }: Result): void {
    const { promptTokens, cachedTokens, completionTokens } = usage;
    this.promptTokens += promptTokens;
    this.cachedTokens += cachedTokens;
    this.completionTokens += completionTokens;
    this.#longest = Math.max(this.#longest, promptTokens + completionTokens);
    this.#promptTokens.inc(promptTokens - cachedTokens);
    this.#promptSeconds.inc(timings.promptMs / 1000);
    this.#predictedTokens.inc(completionTokens);
    this.#predictedSeconds.inc((timings.totalMs - timings.promptMs) / 1000);
    this.#cacheQueries.inc(promptTokens);
    this.#cacheHits.inc(cachedTokens);
    this.#formatSeconds.inc(timings.formatMs / 1000);
    for (const choice of choices ?? [{ timings }]) this.#forced.inc(choice.timings.forcedTokens);
    if (speculation) {
      this.#drafted.inc(speculation.drafted);
      this.#accepted.inc(speculation.accepted);
    }
    if (completionTokens === 0) return;
    this.#firstToken.observe(timings.firstTokenMs / 1000);
    this.#whole.observe(timings.totalMs / 1000);
    for (const { tokensPerSecond } of choices?.map((choice) => choice.timings) ?? [timings])
      if (tokensPerSecond > 0) this.#betweenTokens.observe(1 / tokensPerSecond);
  }

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name: prefix + name, help, registers: [this.registry], labelNames });
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: prefix + name, help, registers: [this.registry], buckets });
  }

  /** Over the models that are there. */
  #sum(of: (model: JambaModel) => number): number {
    return this.#watched().reduce((total, { loaded }) => total + (loaded === undefined ? 0 : of(loaded)), 0);
  }
}
