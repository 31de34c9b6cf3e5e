// All models of a server: which one a request means, whether it is there, what was done. Knows no HTTP.

import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JambaError, type JambaModel } from "jamba";
import { BodyRoom } from "./body.ts";
import { ApiError, modelFailed, modelLoading } from "./errors.ts";
import { followFor } from "./follow.ts";
import { Metrics } from "./metrics.ts";
import { lifetimeOf, memoryOf, type ServedModel, type ServedModels, servedModel } from "./model-source.ts";
import { type Lifetime, Models } from "./models.ts";
import { expectInRange } from "./ranges.ts";
import { Responses } from "./response-store.ts";
import { type AppOptions, type AppSettings, Service, settingsOf, unixSeconds } from "./service.ts";

/** For a server of several models, or of one that does not stay. */
export interface ModelsOptions extends Omit<AppOptions, "alias"> {
  /** By the ids that clients use; a request that names none is for the first. */
  readonly models: ServedModels;
  /** Bytes for all models with their states; what is free at the first request, if not given. */
  readonly memoryBytes?: number;
  /** A model that nobody used for so long is unloaded; only to make room for others, if not given. */
  readonly idleUnloadMs?: number;
}

export class Services {
  readonly options: AppSettings;
  readonly metrics: Metrics;
  readonly responses: Responses;
  readonly bodies: BodyRoom;
  readonly all: readonly Service[];
  /** Refuses whoever comes, when a server is about to end. */
  draining = false;
  /** Undefined for a model that its owner loads and disposes. */
  readonly #models: Models<JambaModel> | undefined;
  readonly #byName: ReadonlyMap<string, Service>;
  readonly #states = new StatesFolder();
  /** Of the first model: on its way, there, or why not. */
  #start: "loading" | "done" | { readonly error: unknown } = "done";

  /** @throws JambaError OPTION for models that can't be told apart by name, or none, and for numbers out of their range */
  constructor(of: Service | ModelsOptions) {
    if (of instanceof Service) {
      this.options = of.options;
      this.metrics = of.metrics;
      this.responses = new Responses(this.options.maxResponseBytes);
      this.bodies = new BodyRoom(this.options.maxBodyBytesInFlight);
      this.all = [of];
      this.#byName = namesOf([[of, {}]]);
      this.#tell();
      return;
    }
    const { models, memoryBytes, idleUnloadMs, ...options } = of;
    expectInRange({ memoryBytes, idleUnloadMs });
    this.options = settingsOf(options);
    this.metrics = new Metrics(() => this.all);
    this.responses = new Responses(this.options.maxResponseBytes);
    this.bodies = new BodyRoom(this.options.maxBodyBytesInFlight);
    const served = Object.entries(models).map(([id, given]): [Service, Partial<ServedModel>] => {
      const model = servedModel(given);
      const name = typeof model.source === "string" ? model.source : id;
      return [new Service(undefined, name, { ...options, alias: id }, this.metrics), model];
    });
    this.#tell();
    if (served.length === 0) throw new JambaError("OPTION", "models: expected one at least, found none");
    this.all = served.map(([service]) => service);
    this.#byName = namesOf(served);
    const lifetimes = served.map(([service, model]) => [service.id, this.#lifetimeOf(service, model as ServedModel)] as const);
    this.#models = new Models(new Map(lifetimes), { memoryBytes, idleUnloadMs, maxWaiting: this.options.maxQueue });
  }

  #tell(): void {
    const { responses, bodies } = this;
    Object.assign(this.metrics.held, {
      bodyBytes: () => bodies.bytes,
      responses: () => responses.count,
      responseBytes: () => responses.bytes,
    });
  }

  /** The first model's, if there is no other. */
  get only(): Service | undefined {
    return this.all.length === 1 ? this.all[0] : undefined;
  }

  /** Loads the first model. @throws what loading it throws, JambaError OUT_OF_MEMORY for one that takes more than there is for all */
  async begin(): Promise<void> {
    if (!this.#models) return;
    this.#start = "loading";
    try {
      const { release } = await this.#models.acquire(this.all[0].id);
      this.#start = "done";
      release();
    } catch (error) {
      this.#start = { error };
      throw error instanceof ApiError ? (error.details.cause ?? error) : error;
    }
  }

  /** @throws ApiError 503 until the first model was there */
  expectReady(): void {
    if (!this.#models) void this.all[0].model;
    else if (this.all.some(({ loads }) => loads > 0)) return;
    else if (this.#start === "loading") throw modelLoading();
    else if (this.#start !== "done") throw modelFailed(this.#start.error);
  }

  /** @throws ApiError 404 with the names there are */
  find(name: string | undefined): Service {
    const found = name === undefined ? this.all[0] : this.#byName.get(name);
    if (found) return found;
    const ids = this.all.map(({ id }) => JSON.stringify(id));
    const expected = ids.length === 1 ? ids[0] : `one of ${ids.join(", ")}`;
    throw new ApiError(404, `model: expected ${expected}, found ${JSON.stringify(name)}`, { param: "model", code: "model_not_found" });
  }

  /** Whether `use` would not wait. */
  isThere({ id }: Service): boolean {
    return !this.#models || this.#models.isFree(id);
  }

  /**
   * Has the model of a service there, loaded if need be, until what is returned is called.
   * @param signal ends the wait
   * @throws ApiError 503 for one that can't be loaded, or not in time; what `Models.acquire` throws
   */
  async use(service: Service, signal: AbortSignal, tenant?: string): Promise<() => void> {
    if (!this.#models) void service.model;
    const release = await this.#acquire(service, signal, tenant);
    const touch = () => {
      service.lastUsed = unixSeconds();
    };
    touch();
    return () => {
      touch();
      release();
    };
  }

  /** Of `GET /v1/models`. @throws ApiError 503 while its owner loads it */
  stateOf(service: Service): { loaded: boolean; loading?: true; last_used?: number; memory_bytes?: number } {
    if (!this.#models) void service.model;
    const state = this.#models?.state(service.id);
    const { loaded, lastUsed } = service;
    return {
      loaded: loaded !== undefined,
      ...(state === "loading" && { loading: true }),
      ...(lastUsed !== undefined && { last_used: lastUsed }),
      ...(loaded && { memory_bytes: memoryOf(loaded) }),
    };
  }

  /** Takes nobody any more who waits for a model, and unloads each as soon as the last answer of it has ended. */
  drain(): void {
    this.draining = true;
    void this.#models?.close();
  }

  /** Cancels every answer under way. */
  stop(): void {
    for (const service of this.all) service.stop();
  }

  async dispose(): Promise<void> {
    await this.#models?.close();
    await Promise.all(this.all.map((service) => service.dispose()));
    await this.#states.remove();
  }

  async #acquire({ id }: Service, signal: AbortSignal, tenant: string | undefined): Promise<() => void> {
    if (!this.#models) return () => undefined;
    const waiting = new AbortController();
    const unfollow = followFor(waiting, signal, this.options.requestTimeoutMs);
    try {
      return (await this.#models.acquire(id, waiting.signal, tenant)).release;
    } catch (error) {
      if (error instanceof ApiError || waiting.signal.aborted) throw error;
      throw modelFailed(error);
    } finally {
      unfollow();
    }
  }

  /** Tells the service when the model comes and goes, and the log. */
  #lifetimeOf(service: Service, served: ServedModel): Lifetime<JambaModel> {
    const { log } = this.options;
    const inner = lifetimeOf(served, () => this.#states.path());
    return {
      ...inner,
      load: async (signal, bytes) => {
        const start = performance.now();
        const model = await inner.load(signal, bytes);
        service.become(model);
        const { device, contextLength } = model;
        const ms = Math.round(performance.now() - start);
        log({ event: "loaded", model: service.id, ms, device: device.name, passedOver: device.passedOver, contextLength });
        return model;
      },
      unload: async (model) => {
        try {
          await this.#putAway(service);
          // Nobody comes back to states in a folder that goes with the server.
          if (this.draining && served.cache?.dir === undefined) model.clearCache();
          service.become(undefined);
          await inner.unload(model);
          log({ event: "unloaded", model: service.id });
        } catch (error) {
          log({ event: "unload failed", model: service.id, message: (error as Error).message });
        }
      },
    };
  }

  /** What a model's slots hold: to files, unless the server ends. Where these can't be written it is lost, so that the model can go. */
  async #putAway(service: Service): Promise<void> {
    if (this.draining) return service.dispose();
    try {
      if (service.slots) await service.slots.sleep(await this.#states.path());
    } catch (error) {
      this.options.log({ event: "slots lost", model: service.id, message: (error as Error).message });
      await service.dispose();
    }
  }
}

/** Ids first, then names, then the last parts of names that are paths, where these mean one model alone. */
function namesOf(served: readonly (readonly [Service, Partial<ServedModel>])[]): ReadonlyMap<string, Service> {
  const names = new Map<string, Service>();
  const given = served.flatMap(([service, { aliases = [] }]) => [service.id, ...aliases].map((name) => [name, service] as const));
  for (const [name, service] of given) {
    if (names.has(name)) throw new JambaError("OPTION", `models: expected each name once, found ${JSON.stringify(name)} twice`);
    names.set(name, service);
  }
  for (const part of [(name: string) => name, lastPart]) {
    const named = (name: string) => served.filter(([service]) => part(service.name) === name);
    for (const [service] of served) {
      const name = part(service.name);
      if (!names.has(name) && named(name).length === 1) names.set(name, service);
    }
  }
  return names;
}

function lastPart(name: string): string {
  return name.replace(/[\\/]+$/, "").replace(/^.*[\\/]/, "");
}

/** A temporary folder for states, made when it is first needed. */
class StatesFolder {
  #path: Promise<string> | undefined;
  #onExit: (() => void) | undefined;

  path(): Promise<string> {
    this.#path ??= mkdtemp(join(tmpdir(), "jamba-states-")).then((path) => {
      this.#onExit = () => rmSync(path, { recursive: true, force: true });
      process.once("exit", this.#onExit);
      return path;
    });
    // A disk that is full now may have room later.
    this.#path.catch(() => {
      this.#path = undefined;
    });
    return this.#path;
  }

  async remove(): Promise<void> {
    const path = await this.#path?.catch(() => undefined);
    if (path === undefined) return;
    process.off("exit", this.#onExit!);
    await rm(path, { recursive: true, force: true });
  }
}
