// Calls between the tabs of this page and the one worker that owns the model, over a BroadcastChannel: every tab hears it, whoever made
// the worker. An answer to a call is a value, or a stream of them. Knows nothing of models.

/** What is served, by name. A generator is a stream; `signal` aborts when the caller goes away. */
export type Service = Record<string, (argument: never, signal: AbortSignal) => unknown>;

type Called<S extends Service, Name extends keyof S> = S[Name] extends (argument: infer Argument, signal: AbortSignal) => infer Given
  ? { argument: Argument; value: Awaited<Given>; chunk: Given extends AsyncGenerator<infer Chunk> ? Chunk : never }
  : never;

type End = { readonly to: string; readonly call: string; readonly value?: unknown; readonly error?: ToldError };

type Envelope =
  | { readonly to: "owner"; readonly from: string; readonly call: string; readonly name: string; readonly argument: unknown }
  | { readonly to: "owner"; readonly from: string; readonly cancel: string }
  | { readonly to: "owner"; readonly hello: true }
  | { readonly to: string; readonly call: string; readonly chunk: unknown }
  | End
  | { readonly to: "all"; readonly owner: string; readonly event?: string; readonly value?: unknown };

/** An error as it crosses to another thread. */
interface ToldError {
  readonly message: string;
  readonly code?: string;
}

/** What a call of the owner threw there. */
export class CallError extends Error {
  constructor(
    message: string,
    readonly code?: string,
  ) {
    super(message);
  }
}

/** The worker that was asked is gone: its tab was closed, or the browser ended it. */
export class OwnerGone extends CallError {
  constructor() {
    super("The model stopped: the tab that ran it was closed, or the browser ended it. It is being loaded again.", "OWNER_GONE");
  }
}

export const channelName = "jamba-chat";

export function toldError(error: unknown): ToldError {
  const { message, code, name } = (error ?? {}) as { message?: string; code?: unknown; name?: string };
  return { message: message ?? String(error), code: typeof code === "string" ? code : name };
}

/** The owner's side. @returns what tells all tabs of an event */
export function serve(service: Service, name = channelName): (event: string, value: unknown) => void {
  const channel = new BroadcastChannel(name);
  const owner = crypto.randomUUID();
  const running = new Map<string, AbortController>();
  const send = (envelope: Envelope) => channel.postMessage(envelope);
  channel.onmessage = ({ data }: MessageEvent<Envelope>) => {
    if (data.to !== "owner") return;
    if ("hello" in data) send({ to: "all", owner });
    else if ("cancel" in data) running.get(data.cancel)?.abort(new DOMException("The answer was stopped.", "AbortError"));
    else void answer(data as Extract<Envelope, { name: string }>);
  };
  send({ to: "all", owner });

  async function answer({ from, call, name, argument }: Extract<Envelope, { name: string }>): Promise<void> {
    const controller = new AbortController();
    running.set(call, controller);
    try {
      const given = await service[name](argument as never, controller.signal);
      if (!isStream(given)) send({ to: from, call, value: given });
      else {
        for await (const chunk of given) send({ to: from, call, chunk });
        send({ to: from, call });
      }
    } catch (error) {
      send({ to: from, call, error: toldError(error) });
    } finally {
      running.delete(call);
    }
  }

  return (event, value) => send({ to: "all", owner, event, value });
}

function isStream(given: unknown): given is AsyncIterable<unknown> {
  return typeof given === "object" && given !== null && Symbol.asyncIterator in given;
}

interface Waiting {
  readonly envelope: Extract<Envelope, { name: string }>;
  /** Whether another owner may be asked the same: once, and only before it has begun to answer. */
  mayRepeat: boolean;
  onChunk?(chunk: unknown): void;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/**
 * A tab's side. Calls wait until there is an owner. What an owner leaves open is asked of the next one, so a call may be carried out twice;
 * a stream of which something came, and a call that two owners left open, are rejected with `OwnerGone`.
 */
export class Caller<S extends Service, Events extends Record<string, unknown>> {
  readonly #channel: BroadcastChannel;
  readonly #id = crypto.randomUUID();
  readonly #waiting = new Map<string, Waiting>();
  readonly #listeners = new Map<string, Set<(value: never) => void>>();
  #owner: string | undefined;

  constructor(name = channelName) {
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Envelope>) => this.#hear(data);
    this.#channel.postMessage({ to: "owner", hello: true } satisfies Envelope);
  }

  on<Name extends keyof Events & string>(event: Name, listener: (value: Events[Name]) => void): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  call<Name extends keyof S & string>(name: Name, argument: Called<S, Name>["argument"]): Promise<Called<S, Name>["value"]> {
    return this.#ask(name, argument).done as Promise<Called<S, Name>["value"]>;
  }

  /** Cancelling the stream, or aborting `signal`, cancels the call. */
  stream<Name extends keyof S & string>(
    name: Name,
    argument: Called<S, Name>["argument"],
    signal?: AbortSignal,
  ): ReadableStream<Called<S, Name>["chunk"]> {
    let cancel: () => void;
    let isLeft = false;
    return new ReadableStream({
      start: (controller) => {
        const asked = this.#ask(name, argument, (chunk) => isLeft || controller.enqueue(chunk as never));
        cancel = asked.cancel;
        signal?.addEventListener("abort", cancel, { once: true });
        asked.done.then(
          () => isLeft || controller.close(),
          (error) => isLeft || controller.error(error),
        );
      },
      cancel: () => {
        isLeft = true;
        cancel();
      },
    });
  }

  #ask(name: string, argument: unknown, onChunk?: Waiting["onChunk"]): { done: Promise<unknown>; cancel: () => void } {
    const call = crypto.randomUUID();
    const envelope = { to: "owner", from: this.#id, call, name, argument } as const;
    const done = new Promise((resolve, reject) => {
      this.#waiting.set(call, { envelope, mayRepeat: true, onChunk, resolve, reject });
    });
    if (this.#owner) this.#channel.postMessage(envelope);
    return { done, cancel: () => this.#channel.postMessage({ to: "owner", from: this.#id, cancel: call } satisfies Envelope) };
  }

  #hear(data: Envelope): void {
    if (data.to === "all" && "owner" in data) {
      if (data.owner !== this.#owner) this.#follow(data.owner);
      if (data.event) for (const listener of this.#listeners.get(data.event) ?? []) listener(data.value as never);
    }
    if (data.to !== this.#id || !("call" in data)) return;
    const waiting = this.#waiting.get(data.call);
    if (!waiting) return;
    if ("chunk" in data) {
      waiting.mayRepeat = false;
      waiting.onChunk?.(data.chunk);
    } else this.#end(data, waiting);
  }

  #end({ call, value, error }: End, waiting: Waiting): void {
    this.#waiting.delete(call);
    if (error) waiting.reject(new CallError(error.message, error.code));
    else waiting.resolve(value);
  }

  #follow(owner: string): void {
    for (const [call, waiting] of [...this.#waiting]) {
      const { envelope, mayRepeat, reject } = waiting;
      if (mayRepeat) this.#channel.postMessage(envelope);
      else {
        this.#waiting.delete(call);
        reject(new OwnerGone());
      }
      if (this.#owner) waiting.mayRepeat = false;
    }
    this.#owner = owner;
    for (const listener of this.#listeners.get("owner") ?? []) listener(owner as never);
  }
}
