// Names a loaded model by all bytes of its weights, when that is first needed or in the background.

import { JambaError, unlessAborted } from "@jamba/core";
import { type Checkpoint, fingerprintsOf, keptFingerprint, tokenizerFingerprint } from "@jamba/loader";
import type { Identity, IdentitySource } from "../state/identity.ts";
import { type Prepared, packedName } from "./prepared.ts";

type Fingerprints = Awaited<ReturnType<typeof fingerprintsOf>>;

/** What a fingerprint is made of: a checkpoint keeps its vocabulary and more, which may go. */
type Named = Pick<Checkpoint, "name" | "config" | "tensors" | "pathOf" | "stamps" | "digests" | "read" | "expectUnchanged" | "close">;

const soonReadBytes = 64 * 2 ** 20;

export class ModelNames implements IdentitySource {
  readonly #checkpoint: Checkpoint;
  readonly #prepared?: Prepared;
  readonly #tokenizer: Promise<string | undefined>;
  readonly #warn: (warning: string) => void;
  readonly #end = new AbortController();
  #identity?: Promise<Identity>;
  #now?: Identity;
  /** Somebody waits. */
  #isUrgent = false;

  /** @param checkpoint which this closes */
  constructor(checkpoint: Checkpoint, prepared: Prepared | undefined, warn: (warning: string) => void) {
    const { name, config, tensors, pathOf, stamps, digests, close } = checkpoint;
    const named: Named = {
      ...{ name, config, tensors, pathOf, stamps, digests, close },
      read: (...args) => checkpoint.read(...args),
      expectUnchanged: (...args) => checkpoint.expectUnchanged?.(...args) ?? Promise.resolve(),
    };
    this.#checkpoint = named as Checkpoint;
    this.#prepared = prepared;
    this.#tokenizer = checkpoint.tokenizer === undefined ? Promise.resolve(undefined) : tokenizerFingerprint(checkpoint.tokenizer);
    this.#tokenizer.catch(() => undefined); // whoever asks for the identity hears of it
    this.#warn = warn;
  }

  /** What is known without reading the weights. */
  get now(): Identity | undefined {
    return this.#now;
  }

  /** Whether reading the weights takes a moment only, some tenth of a second. */
  get isSoonMade(): boolean {
    return [...this.#checkpoint.tensors.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) <= soonReadBytes;
  }

  /** What an earlier load left beside the weights, which may be looked for while they are read. */
  find(): Promise<Fingerprints | undefined> {
    return keptFingerprint(this.#checkpoint);
  }

  /** Takes what was found, once the weights are read: nothing is read of the checkpoint from then on. */
  async take(found: Fingerprints): Promise<void> {
    await this.#make(async () => found).catch(() => undefined); // a tokenizer without a name is told to who asks
  }

  /** Half of one thread's time, until somebody waits. */
  begin(): void {
    const { signal } = this.#end;
    const pause = (tookMs: number) => (this.#isUrgent ? undefined : new Promise<void>((resolve) => setTimeout(resolve, tookMs)));
    const fingerprints = () => fingerprintsOf(this.#checkpoint, { signal, pause, warn: this.#warn });
    this.#make(fingerprints).catch(() => undefined); // whoever asks hears of it
  }

  async get(signal?: AbortSignal): Promise<Identity> {
    signal?.throwIfAborted();
    this.#isUrgent = true;
    this.begin();
    return unlessAborted(() => this.#identity!, signal);
  }

  async dispose(): Promise<void> {
    this.#end.abort(new JambaError("DISPOSED", `${this.#checkpoint.name}: expected an open model, found it disposed`));
    await this.#identity?.catch(() => undefined);
    await this.#checkpoint.close();
  }

  #make(fingerprints: () => Promise<Fingerprints>): Promise<Identity> {
    this.#identity ??= (async () => {
      const identity = await this.#identityOf(await fingerprints());
      this.#now = identity;
      await this.#checkpoint.close();
      return identity;
    })();
    return this.#identity;
  }

  async #identityOf({ model, sampled }: Fingerprints): Promise<Identity> {
    const tokenizer = await this.#tokenizer;
    const prepared = this.#prepared;
    if (!prepared) return { model, modelBefore: sampled, weights: model, tokenizer };
    const weights = await packedName(prepared, model);
    // What was prepared goes by the name of what it was made from, as long as it is what was written then.
    const isWhole = prepared.packed === weights;
    const modelBefore = isWhole || prepared.packed === undefined ? (prepared.model ?? sampled) : undefined;
    return { model: (isWhole ? prepared.fingerprint : undefined) ?? weights, modelBefore, weights, tokenizer };
  }
}
