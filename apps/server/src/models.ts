// Which models are there: each is loaded once somebody asks for it, what nobody uses makes room for what is asked for.
// Knows neither HTTP nor what a model is.

import { modelTooLarge, shuttingDown, tooManyRequests } from "./errors.ts";

/** How one model comes and goes. */
export interface Lifetime<T> {
  /** @param budget what there is for all models, if that is known already */
  needs(budget: number | undefined, signal: AbortSignal): Promise<Needs>;
  /** @param bytes that it may take while it is there */
  load(signal: AbortSignal, bytes: number): Promise<T>;
  /** Called while nobody uses it. */
  unload(model: T): Promise<void>;
  /** Bytes that it takes at the moment, where that may be more than it was to need. */
  takes?(model: T): number;
}

/** In bytes. */
export interface Needs {
  /** Without so much it can't be there. */
  readonly bytes: number;
  /** More would be of no use to it; as `bytes` if not given. */
  readonly most?: number;
  /** What there is now for all models. */
  readonly freeBytes: number;
}

export interface ModelsOptions {
  /** Bytes for all models together; what is free when the first is asked for, if not given. */
  readonly memoryBytes?: number;
  /** After so long without use a model is unloaded; never if not given. */
  readonly idleUnloadMs?: number;
  /** Requests of one tenant that may wait for one model to come; more are refused (429). */
  readonly maxWaiting?: number;
}

/** The right to use a model until `release` is called. */
export interface Lease<T> {
  readonly model: T;
  release(): void;
}

interface Waiting<T> {
  readonly tenant: string | undefined;
  grant(model: Lease<T>): void;
  refuse(error: unknown): void;
}

interface Entry<T> {
  readonly name: string;
  readonly lifetime: Lifetime<T>;
  state: "absent" | "loading" | "loaded" | "unloading";
  model?: T;
  /** Undefined while that is not known. */
  needs?: Needs;
  /** Bytes that are set aside for it. */
  room: number;
  users: number;
  /** Those that use it may end, others wait: its room is wanted. */
  isLeaving: boolean;
  /** A clock that counts uses. */
  lastUsed: number;
  waiting: Set<Waiting<T>>;
  timer?: NodeJS.Timeout;
}

export class Models<T> {
  readonly #entries: ReadonlyMap<string, Entry<T>>;
  readonly #options: ModelsOptions;
  readonly #stop = new AbortController();
  /** Asked for and not there, who was first first. */
  #line: Entry<T>[] = [];
  #budget: number | undefined;
  #clock = 0;
  #closing: Promise<void> | undefined;
  #whenEmpty: (() => void) | undefined;

  constructor(lifetimes: ReadonlyMap<string, Lifetime<T>>, options: ModelsOptions = {}) {
    const entryOf = (name: string, lifetime: Lifetime<T>): Entry<T> => {
      return { name, lifetime, state: "absent", room: 0, users: 0, isLeaving: false, lastUsed: 0, waiting: new Set() };
    };
    this.#entries = new Map([...lifetimes].map(([name, lifetime]) => [name, entryOf(name, lifetime)]));
    this.#options = options;
    this.#budget = options.memoryBytes;
  }

  state(name: string): Entry<T>["state"] {
    return this.#entries.get(name)!.state;
  }

  /** Whether `acquire` would not wait. */
  isFree(name: string): boolean {
    const { state, isLeaving } = this.#entries.get(name)!;
    return state === "loaded" && !isLeaving;
  }

  /**
   * The model, once it is there. A wait that `signal` ends changes nothing for others who wait.
   * @throws ApiError 507 for one that takes more than there is for all, 429 where too many wait, 503 once `close` was called; what its
   * lifetime throws, for all who wait then: the next call tries again
   */
  async acquire(name: string, signal?: AbortSignal, tenant?: string): Promise<Lease<T>> {
    signal?.throwIfAborted();
    if (this.#stop.signal.aborted) throw shuttingDown();
    const entry = this.#entries.get(name)!;
    if (this.isFree(name)) return this.#leaseOf(entry);
    const own = [...entry.waiting].filter((waiting) => waiting.tenant === tenant);
    if (own.length >= (this.#options.maxWaiting ?? Number.POSITIVE_INFINITY)) throw tooManyRequests(name);
    return new Promise((resolve, reject) => {
      const settle = <V>(how: (value: V) => void) => {
        return (value: V) => {
          entry.waiting.delete(waiting);
          signal?.removeEventListener("abort", leave);
          how(value);
        };
      };
      const waiting: Waiting<T> = { tenant, grant: settle(resolve), refuse: settle(reject) };
      const leave = () => {
        waiting.refuse(signal?.reason);
        if (entry.waiting.size === 0) this.#line = this.#line.filter((other) => other !== entry);
        this.#arrange();
      };
      entry.waiting.add(waiting);
      signal?.addEventListener("abort", leave);
      if (entry.state === "absent") this.#enqueue(entry);
    });
  }

  /** Refuses who waits, stops what loads, and unloads each model once nobody uses it. */
  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#whenEmpty = resolve;
      this.#stop.abort(shuttingDown());
      this.#line = [];
      for (const entry of this.#entries.values()) {
        refuseAll(entry, shuttingDown());
        if (entry.state === "loaded" && entry.users === 0) this.#unload(entry);
      }
      this.#resolveIfEmpty();
    });
    return this.#closing;
  }

  #leaseOf(entry: Entry<T>): Lease<T> {
    clearTimeout(entry.timer);
    entry.users++;
    entry.lastUsed = ++this.#clock;
    let isHeld = true;
    const release = () => {
      if (!isHeld) return;
      isHeld = false;
      entry.users--;
      entry.lastUsed = ++this.#clock;
      if (entry.users === 0) this.#rest(entry);
    };
    return { model: entry.model!, release };
  }

  /** Nobody uses it any more, or yet. */
  #rest(entry: Entry<T>): void {
    const { idleUnloadMs } = this.#options;
    if (this.#stop.signal.aborted) return void this.#unload(entry);
    // It may make room that somebody waits for, sooner than one that was to leave.
    if (this.#line.length > 0) this.#arrange();
    if (idleUnloadMs === undefined || entry.state !== "loaded" || entry.users > 0) return;
    clearTimeout(entry.timer);
    entry.timer = setTimeout(() => this.#unload(entry), idleUnloadMs).unref();
  }

  #enqueue(entry: Entry<T>): void {
    if (this.#line.includes(entry)) return;
    this.#line.push(entry);
    entry.needs = undefined;
    entry.lifetime.needs(this.#budget, this.#stop.signal).then(
      (needs) => {
        entry.needs = needs;
        this.#budget ??= needs.freeBytes;
        this.#arrange();
      },
      (error) => {
        this.#fail(entry, error);
        this.#arrange();
      },
    );
  }

  /**
   * Loads whatever has room, and lets go of what is in the way of the others, idle ones first, of these the one that was used longest ago.
   * Nobody takes room that somebody before them in the line is waiting for.
   */
  #arrange(): void {
    if (this.#stop.signal.aborted) return;
    for (const entry of this.#entries.values()) if (entry.state === "loaded") entry.isLeaving = false;
    let [now, later] = [0, 0];
    for (const entry of this.#entries.values()) {
      now += bytesOf(entry);
      if (entry.state !== "unloading") later += bytesOf(entry);
    }
    for (const entry of [...this.#line]) {
      if (!entry.needs) continue;
      const budget = this.#budget!;
      const { bytes: need, most = need } = entry.needs;
      if (need > budget) {
        this.#fail(entry, modelTooLarge(entry.name, need, budget));
        continue;
      }
      for (const victim of this.#victims(later + need - budget)) {
        victim.isLeaving = true;
        later -= bytesOf(victim);
      }
      later += need;
      if (now + need > budget || later > budget) continue;
      // More than it must have, up to its share of all, where nobody else is in want of it.
      const share = Math.min(most, budget / this.#entries.size, need + budget - Math.max(now + need, later));
      entry.room = Math.max(need, Math.floor(share));
      now += entry.room;
      later += entry.room - need;
      void this.#load(entry);
    }
    for (const entry of this.#entries.values()) {
      if (entry.state !== "loaded") continue;
      if (!entry.isLeaving) this.#grantAll(entry);
      else if (entry.users === 0) this.#unload(entry);
    }
  }

  /** Those that have to go so that `excess` bytes are free; none where that is not enough. */
  #victims(excess: number): Entry<T>[] {
    const candidates = [...this.#entries.values()].filter(({ state, isLeaving }) => state === "loaded" && !isLeaving);
    candidates.sort((a, b) => Number(a.users > 0) - Number(b.users > 0) || a.lastUsed - b.lastUsed);
    const victims: Entry<T>[] = [];
    for (let left = excess; left > 0; ) {
      const victim = candidates.shift();
      if (!victim) return [];
      victims.push(victim);
      left -= bytesOf(victim);
    }
    return victims;
  }

  async #load(entry: Entry<T>): Promise<void> {
    this.#line = this.#line.filter((other) => other !== entry);
    entry.state = "loading";
    try {
      entry.model = await entry.lifetime.load(this.#stop.signal, entry.room);
      entry.state = "loaded";
      entry.lastUsed = ++this.#clock;
    } catch (error) {
      entry.state = "absent";
      refuseAll(entry, error);
      this.#resolveIfEmpty();
    }
    if (entry.state === "loaded" && entry.waiting.size === 0) this.#rest(entry);
    else if (entry.state === "loaded") this.#grantAll(entry);
    this.#arrange();
  }

  #unload(entry: Entry<T>): void {
    clearTimeout(entry.timer);
    entry.state = "unloading";
    entry.isLeaving = false;
    const gone = () => {
      entry.state = "absent";
      entry.model = undefined;
      if (entry.waiting.size > 0) this.#enqueue(entry);
      this.#arrange();
      this.#resolveIfEmpty();
    };
    entry.lifetime.unload(entry.model!).then(gone, gone);
  }

  #grantAll(entry: Entry<T>): void {
    for (const waiting of entry.waiting) waiting.grant(this.#leaseOf(entry));
  }

  #fail(entry: Entry<T>, error: unknown): void {
    this.#line = this.#line.filter((other) => other !== entry);
    refuseAll(entry, error);
  }

  #resolveIfEmpty(): void {
    if ([...this.#entries.values()].every(({ state }) => state === "absent")) this.#whenEmpty?.();
  }
}

/** Bytes that are taken or set aside. */
function bytesOf<T>({ state, room, model, lifetime }: Entry<T>): number {
  if (state === "absent") return 0;
  return state === "loaded" ? Math.max(room, lifetime.takes?.(model!) ?? 0) : room;
}

function refuseAll<T>({ waiting }: Entry<T>, error: unknown): void {
  for (const one of waiting) one.refuse(error);
}
