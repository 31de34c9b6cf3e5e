// This tab's end of the worker that owns the model: starts one, and another when it dies, and follows what the owner tells.

import { Caller, channelName, OwnerGone } from "../channel/calls.ts";
import { gone } from "../channel/ownership.ts";
import type { ConversationSummary, DeviceChoice, Events, Live, ModelChoice, ModelStatus, StorageStatus } from "../channel/service.ts";
import type { Owner } from "../engine/owner.ts";
import type { First, Start } from "../engine/worker.ts";
import { paint } from "./paint.ts";
import { set, settings } from "./settings.ts";
import { Store } from "./store.ts";

export type Service = Owner["service"];

/** Hosts that have the family's files themselves name their place as `?hub=…`; the page's policy lets it fetch of no others. */
function hubOf({ search, href }: Location): string {
  return new URL(new URLSearchParams(search).get("hub") ?? "https://huggingface.co", href).href.replace(/\/$/, "");
}

const noLive: Live = { answers: [], states: { count: 0, bytes: 0 } };

export class Client {
  readonly calls: Caller<Service, Events>;
  readonly model = new Store<ModelStatus>({ phase: "none", name: "" });
  readonly storage = new Store<StorageStatus | undefined>(undefined);
  readonly live = new Store<Live>(noLive);
  readonly conversations = new Store<readonly ConversationSummary[] | undefined>(undefined);
  /** On their way, by their ids. */
  readonly downloads = new Store<ReadonlyMap<string, Events["download"]>>(new Map());
  /** What failed where nothing else on the page says so. */
  readonly trouble = new Store<string | undefined>(undefined);
  /** Whether other tabs can share this one's model. */
  readonly isShared = typeof navigator.locks === "object";
  readonly #channel = this.isShared ? channelName : `${channelName}-${crypto.randomUUID()}`;
  /** Files that were dropped on this tab: a later owner gets them again. */
  #dropped: Extract<ModelChoice, { kind: "files" }> | undefined;
  #worker!: Worker;

  /** The page opens without a network from now on. */
  readonly isOffline = new Store(false);

  constructor() {
    this.calls = new Caller(this.#channel);
    this.calls.on("model", (model) => {
      this.model.value = model;
      // Not before: the first answer needs the network more.
      if (model.phase === "ready") void this.#keepPage();
    });
    this.calls.on("storage", (storage) => {
      this.storage.value = storage;
    });
    this.calls.on("live", (live) => {
      this.live.value = live;
    });
    this.calls.on("paint", ({ colour }) => paint(colour));
    this.calls.on("download", (one) => {
      const downloads = new Map(this.downloads.value).set(one.id, one);
      if (!one.progress && !one.error) downloads.delete(one.id);
      this.downloads.value = downloads;
    });
    this.calls.on("conversations", () => this.heed(this.#list()));
    this.calls.on("owner", () => this.heed(this.#follow()));
    this.#work();
  }

  /** Shows why what nobody waits for failed. An owner that is gone is followed by another, of which this hears as well. */
  heed(done: Promise<unknown>): void {
    done.catch((error: Error) => {
      if (!(error instanceof OwnerGone)) this.trouble.value = error.message;
    });
  }

  /** The same model on another device. */
  runOn(device: DeviceChoice): void {
    set({ device });
    this.load(this.#dropped ?? settings.value.model);
  }

  forgetTrouble(): void {
    this.trouble.value = undefined;
  }

  /** Another model for all tabs: how far it is, and why it fails, is `model`'s. */
  load(choice: ModelChoice): void {
    this.#dropped = choice.kind === "files" ? choice : undefined;
    if (choice.kind !== "files") set({ model: choice });
    const { first } = this.#first;
    this.#worker.postMessage({ first } satisfies First);
    this.heed(this.calls.call("load", first));
  }

  get #first(): First {
    return { first: { ...(this.#dropped ?? settings.value.model), backend: settings.value.device } };
  }

  #work(): void {
    const worker = new Worker(new URL("../engine/worker.ts", import.meta.url), { type: "module", name: "jamba" });
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
    worker.postMessage({ channel: this.#channel, alive, base: document.baseURI, hub: hubOf(location), ...this.#first } satisfies Start);
    this.#worker = worker;
  }

  /** An owner was found, or there is another one. */
  async #follow(): Promise<void> {
    const { model, storage, live } = await this.calls.call("status", null);
    this.model.value = model;
    this.storage.value = storage;
    this.live.value = live;
    // The worker of another tab, which had no part in that.
    if (this.#dropped && model.name !== this.#dropped.name) this.load(this.#dropped);
    await this.#list();
  }

  async #keepPage(): Promise<void> {
    // What was asked already is answered first: to keep all files takes as much of the machine.
    await this.calls.call("idle", null).catch(() => undefined);
    try {
      await navigator.serviceWorker.register(new URL("service-worker.js", document.baseURI), { type: "module" });
      await navigator.serviceWorker.ready;
      this.isOffline.value = true;
    } catch {} // not to be had here: the page opens with a network alone, and says nothing else
  }

  async #list(): Promise<void> {
    this.conversations.value = await this.calls.call("conversations", null);
  }
}
