// The worker's side: one model, the conversations with it, and what tabs ask of both.

import type { JambaModel } from "jamba";
import type { AnswerRequest, DeviceChoice, Events, Live, ModelChoice, ModelStatus, TreeBranch } from "../channel/service.ts";
import { type Conversation, ConversationStore, withAnswer } from "../storage/conversations.ts";
import type { Files } from "../storage/files.ts";
import { AnswerLog, type UiChunk } from "../transport/index.ts";
import { wholeOf } from "../transport/whole-message.ts";
import { Branches } from "./branches.ts";
import type { Library } from "./library.ts";
import { loadChoice, whyNoGpu } from "./load.ts";
import { treeOf } from "./tree.ts";

type Tell = <Name extends keyof Events>(event: Name, value: Events[Name]) => void;

/** How often tabs hear of the work, in milliseconds. */
const liveMs = 250;
/** How often an answer is kept while it is written: what is lost when this worker's tab closes. */
const keepMs = 2000;

export type LoadRequest = ModelChoice & { readonly backend?: DeviceChoice };

interface Running {
  readonly log: AnswerLog;
  /** Of the message that it answers. */
  readonly askedId: string;
  readonly controller: AbortController;
  keptAt: number;
  /** Resolves when what there was at that time is kept. */
  kept: Promise<void>;
}

export class Owner {
  readonly #files: Files;
  readonly #tell: Tell;
  readonly #base: string;
  /** Made when the first model is looked at. */
  #library: Promise<Library> | undefined;
  readonly #openLibrary: () => Promise<Library>;
  readonly #conversations: ConversationStore;
  /** By their conversations' ids. */
  readonly #answers = new Map<string, Running>();
  #status: ModelStatus = { phase: "none", name: "" };
  #model: JambaModel | undefined;
  #branches: Branches | undefined;
  #loading: { readonly choice: string; readonly done: Promise<void>; readonly controller: AbortController } | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param place where the page is, and where models come from */
  constructor(files: Files, tell: Tell, { base, hub }: { readonly base: string; readonly hub: string }) {
    this.#base = base;
    this.#openLibrary = async () => new (await import("./library.ts")).Library({ files, hub, tell });
    this.#files = files;
    this.#tell = tell;
    this.#conversations = new ConversationStore(files);
  }

  /** What tabs may call, see `serve`. */
  readonly service = {
    status: async (_: null) => ({ model: this.#status, storage: await this.#storage(), live: this.#live() }),
    load: (choice: LoadRequest) => this.#load(choice),
    idle: (_: null) => this.#idle(),
    answer: (request: AnswerRequest, signal: AbortSignal) => this.#answer(request, signal),
    stop: async ({ chatId }: { chatId: string }) => this.#answers.get(chatId)?.controller.abort(stopped()),
    reconnect: async ({ chatId }: { chatId: string }) => {
      const running = this.#answers.get(chatId);
      return running && { askedId: running.askedId };
    },
    follow: ({ chatId }: { chatId: string }) => this.#follow(chatId),
    conversations: (_: null) => this.#conversations.list(),
    readConversation: ({ id }: { id: string }) => this.#conversations.read(id),
    writeConversation: (conversation: Conversation) => this.#write(conversation),
    removeConversation: async ({ id }: { id: string }) => {
      this.#answers.get(id)?.controller.abort(stopped());
      await this.#conversations.remove(id);
      this.#tell("conversations", { id, isRemoved: true });
      this.#tell("storage", await this.#storage());
    },
    exportFile: ({ id }: { id?: string }) => this.#conversations.exportFile(id),
    importAll: async ({ json }: { json: string }) => {
      const found = await this.#conversations.importAll(json);
      this.#tell("conversations", { id: "" });
      return found;
    },
    search: ({ text }: { text: string }) => this.#conversations.search(text),
    plan: async (asked: { id: string }, signal: AbortSignal) => (await this.#models()).plan(asked, signal),
    stored: async (_: null) => (await this.#models()).stored(),
    download: async (asked: { id: string }) => {
      await (await this.#models()).download(asked);
      this.#tell("storage", await this.#storage());
    },
    cancelDownload: async (asked: { id: string }) => (await this.#models()).cancel(asked),
    removeModel: async (asked: { id: string }) => {
      await (await this.#models()).remove(asked);
      this.#tell("storage", await this.#storage());
    },
    fill: (asked: { text: string; fields: readonly string[] }, signal: AbortSignal) => this.#fill(asked, signal),
    tree: async (_: null): Promise<TreeBranch[]> => {
      const model = this.#model;
      return model ? treeOf({ readTree: () => model.readTree(), tokenizer: model.tokenizer }) : [];
    },
  };

  #models(): Promise<Library> {
    this.#library ??= this.#openLibrary();
    return this.#library;
  }

  /** The same choice twice is one load; another one ends it. @param lost why the GPU that had it is passed over */
  async #load(choice: LoadRequest, lost?: string): Promise<void> {
    const key = choice.kind === "files" || lost ? crypto.randomUUID() : JSON.stringify(choice);
    if (this.#loading?.choice === key && this.#status.phase !== "failed") return this.#loading.done;
    this.#loading?.controller.abort(new DOMException("Another model was chosen.", "AbortError"));
    const before = this.#loading?.done.catch(() => undefined);
    const controller = new AbortController();
    const done = Promise.resolve(before).then(() => this.#replace(choice, controller.signal, lost));
    this.#loading = { choice: key, done, controller };
    return done;
  }

  /** Resolves when nobody waits for an answer. */
  async #idle(): Promise<void> {
    // Those that waited for the model have begun by then.
    do await new Promise((resolve) => setTimeout(resolve, 100));
    while (this.#answers.size > 0);
  }

  async #replace(choice: LoadRequest, signal: AbortSignal, lost?: string): Promise<void> {
    const name = choice.kind === "small" ? "Small storyteller" : choice.kind === "files" ? choice.name : choice.id;
    const become = (status: Partial<ModelStatus>) => {
      this.#status = { name, kind: choice.kind, phase: "loading", lost, ...status };
      this.#tell("model", this.#status);
    };
    become({});
    const begun = performance.now();
    try {
      await this.#unload();
      const { backend = "auto" } = choice;
      const { model, warnings, keep } = await loadChoice(choice, {
        files: this.#files,
        base: this.#base,
        backend: lost ? "wasm" : backend,
        signal,
        onProgress: (progress) => become({ progress }),
      });
      this.#model = model;
      // The next one may go the same way: until a person chooses again, or comes again, the processor has it.
      void model.lost.then(({ message }) => (this.#model === model ? this.#load(choice, message) : undefined));
      this.#branches = new Branches(model, {
        files: this.#files,
        conversations: this.#conversations,
        onError: (error) => void this.#tellTrouble(`What was read could not be kept for the next visit: ${(error as Error).message}`),
        paint: (colour) => this.#tell("paint", { colour }),
      });
      const { device, dtypes, contextLength } = model;
      become({
        phase: "ready",
        ready: {
          device: device.name,
          isGpu: device.kind === "webgpu",
          threads: device.threads,
          features: [...(lost ? [lost] : await whyNoGpu(device, backend)), ...device.features, ...(device.passedOver ?? [])],
          warnings: [...warnings],
          dtypes,
          contextLength,
          loadMs: performance.now() - begun,
        },
      });
      if (keep) void this.#idle().then(keep);
    } catch (error) {
      if (signal.aborted) return;
      become({ phase: "failed", error: (error as Error).message });
    }
    this.#tell("live", this.#live());
  }

  async #unload(): Promise<void> {
    const [model, branches] = [this.#model, this.#branches];
    this.#model = this.#branches = undefined;
    await branches?.dispose();
    await model?.dispose();
  }

  async *#answer(request: AnswerRequest, signal: AbortSignal): AsyncGenerator<UiChunk> {
    const { chatId } = request;
    await this.#loading?.done;
    const branches = this.#branches;
    if (!branches) throw new Error(this.#status.error ?? "No model is loaded: choose one.");
    // Names that sort by their time: what is kept longest goes first.
    const answerId = `${Date.now().toString(36).padStart(9, "0")}-${crypto.randomUUID().slice(0, 8)}`;
    const controller = new AbortController();
    const log = new AnswerLog(branches.answer(request, answerId, AbortSignal.any([signal, controller.signal])));
    const running: Running = { log, askedId: request.messages.at(-1)!.id, controller, keptAt: performance.now(), kept: Promise.resolve() };
    this.#answers.set(chatId, running);
    this.#timer ??= setInterval(() => this.#tick(), liveMs);
    void log.done.then(async () => {
      await this.#keep(chatId, running);
      if (this.#answers.get(chatId) === running) this.#answers.delete(chatId);
      this.#tell("conversations", { id: chatId });
      this.#tick();
    });
    yield* chunksOf(log);
  }

  /** What there is of an answer, whoever still looks at it. Never rejects. */
  #keep(chatId: string, running: Running): Promise<void> {
    const chunks = [...running.log.chunks];
    running.keptAt = performance.now();
    running.kept = running.kept.then(async () => {
      try {
        const message = wholeOf(chunks);
        const conversation = await this.#conversations.read(chatId);
        if (message && conversation) await this.#conversations.write(withAnswer(conversation, message, running.askedId));
      } catch (error) {
        void this.#tellTrouble(`An answer could not be kept: ${(error as Error).message}`);
      }
    });
    return running.kept;
  }

  /** JSON with texts for these fields, as the text says them. */
  async *#fill({ text, fields }: { text: string; fields: readonly string[] }, signal: AbortSignal): AsyncGenerator<string> {
    await this.#loading?.done;
    if (!this.#model) throw new Error(this.#status.error ?? "No model is loaded: choose one.");
    const properties = Object.fromEntries(fields.map((field) => [field, { type: "string", maxLength: 40 }]));
    const schema = { type: "object", properties, required: fields, additionalProperties: false };
    // In words as the small model was taught them; others understand them too.
    const content = `Write JSON with the keys ${fields.slice(0, -1).join(", ")} and ${fields.at(-1)}.\n\n${text}`;
    const options = { format: { type: "json", schema } as const, maxTokens: 400, temperature: 0, signal };
    for await (const part of this.#model.stream([{ role: "user", content }], options)) yield part.text;
  }

  async *#follow(chatId: string): AsyncGenerator<UiChunk> {
    const running = this.#answers.get(chatId);
    if (running) yield* chunksOf(running.log);
  }

  async #write(conversation: Conversation): Promise<Conversation> {
    const written = await this.#conversations.write(conversation);
    this.#tell("conversations", { id: conversation.id });
    return written;
  }

  #tick(): void {
    this.#tell("live", this.#live());
    for (const [chatId, running] of this.#answers) if (performance.now() - running.keptAt > keepMs) void this.#keep(chatId, running);
    if (this.#answers.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    void this.#storage().then((storage) => this.#tell("storage", storage));
  }

  #live(): Live {
    const { states, bytes } = this.#model?.cached() ?? { states: 0, bytes: 0 };
    return { answers: this.#branches?.live ?? [], memory: this.#model?.memory(), states: { count: states, bytes } };
  }

  async #storage(trouble?: string): Promise<Events["storage"]> {
    const { kind, reason } = this.#files;
    const { usage, quota } = (await navigator.storage?.estimate?.().catch(() => undefined)) ?? {};
    return { kind, reason: trouble ?? reason, usedBytes: usage, quotaBytes: quota };
  }

  async #tellTrouble(trouble: string): Promise<void> {
    this.#tell("storage", await this.#storage(trouble));
  }
}

const stopped = () => new DOMException("The answer was stopped.", "AbortError");

async function* chunksOf(log: AnswerLog): AsyncGenerator<UiChunk> {
  const reader = log.stream().getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}
