// This tab's end of the worker that owns the model: starts one, and another when it dies, and follows what the owner tells.

import { Caller, channelName } from "../channel/calls.ts";
import { gone } from "../channel/ownership.ts";
import type { ConversationSummary, Events, Live, ModelChoice, ModelStatus, StorageStatus } from "../channel/service.ts";
import type { Owner } from "../engine/owner.ts";
import type { Start } from "../engine/worker.ts";
import { settings } from "./settings.ts";
import { Store } from "./store.ts";

export type Service = Owner["service"];

const noLive: Live = { answers: [], states: { count: 0, bytes: 0 } };

export class Client {
  readonly calls: Caller<Service, Events>;
  readonly model = new Store<ModelStatus>({ phase: "none", name: "" });
  readonly storage = new Store<StorageStatus | undefined>(undefined);
  readonly live = new Store<Live>(noLive);
  readonly conversations = new Store<readonly ConversationSummary[] | undefined>(undefined);
  /** What stops the page as a whole. */
  readonly trouble = new Store<string | undefined>(undefined);
  /** Whether other tabs can share this one's model. */
  readonly isShared = typeof navigator.locks === "object";
  readonly #channel = this.isShared ? channelName : `${channelName}-${crypto.randomUUID()}`;
  /** Files that were dropped on this tab: a later owner gets them again. */
  #dropped: ModelChoice | undefined;

  constructor() {
    this.calls = new Caller(this.#channel);
    this.calls.on("model", (model) => {
      this.model.value = model;
    });
    this.calls.on("storage", (storage) => {
      this.storage.value = storage;
    });
    this.calls.on("live", (live) => {
      this.live.value = live;
    });
    this.calls.on("conversations", () => void this.#list());
    this.calls.on("owner", () => void this.#follow());
    this.#work();
  }

  /** Another model for all tabs. */
  async load(choice: ModelChoice): Promise<void> {
    this.#dropped = choice.kind === "files" ? choice : undefined;
    await this.calls.call("load", choice);
  }

  /** Ends the worker, as the browser may when memory is short; another one follows. */
  kill(): void {
    this.#worker?.terminate();
  }

  #worker: Worker | undefined;

  #work(): void {
    const worker = new Worker(new URL("../engine/worker.ts", import.meta.url), { type: "module", name: "jamba" });
    this.#worker = worker;
    const alive = `${channelName}-alive-${crypto.randomUUID()}`;
    worker.onmessage = ({ data }) => {
      if (data.failed) this.trouble.value = data.failed.message;
      else if (data.alive && this.isShared)
        void gone(alive).then(() => {
          worker.terminate();
          this.#work();
        });
    };
    worker.onerror = (event) => {
      this.trouble.value = event.message || "The program that runs the model could not be started.";
    };
    worker.postMessage({ channel: this.#channel, alive, base: document.baseURI } satisfies Start);
  }

  /** An owner was found, or there is another one. */
  async #follow(): Promise<void> {
    const { model, storage, live } = await this.calls.call("status", null);
    this.model.value = model;
    this.storage.value = storage;
    this.live.value = live;
    const stored = settings.value.model;
    if (model.phase === "none")
      void this.load(this.#dropped ?? (stored ? { kind: "stored", id: stored } : { kind: "small" })).catch(() => undefined);
    await this.#list();
  }

  async #list(): Promise<void> {
    this.conversations.value = await this.calls.call("conversations", null);
  }
}
