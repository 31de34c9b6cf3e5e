// Conversations with a number, which can be saved to files and come back from them. To each tenant its own, as if there were no others.
// Knows messages, no HTTP.

import { createHash, randomUUID } from "node:crypto";
import { copyFile, lstat, mkdir, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type GenerateOptions,
  JambaError,
  type JambaModel,
  type Message,
  type Session,
  type SessionOptions,
  type Tenant,
  type TextStream,
} from "jamba";
import { ApiError, badRequest } from "./errors.ts";

type Template = Pick<SessionOptions, "tools" | "documents" | "knobs" | "variables">;

/** One conversation at a time: the last that asked for this slot. Its state stays in memory, or waits in a file. */
class Slot {
  #session: Session | undefined;
  /** Where it lies while its model is not there, or others are asked for more. */
  #asleep: { readonly path: string; readonly tokens: number } | undefined;
  readonly #onUse: (slot: Slot) => void;

  constructor(onUse: (slot: Slot) => void) {
    this.#onUse = onUse;
  }

  get tokens(): number {
    return this.#session?.tokens.length ?? this.#asleep?.tokens ?? 0;
  }

  get isAwake(): boolean {
    return this.#session !== undefined;
  }

  /** What the conversation before shares with this one is not read again: its state is kept like any other. */
  stream(model: JambaModel, messages: readonly Message[], template: Template, options: GenerateOptions): TextStream {
    const session = model.session(template);
    this.#become(session);
    return session.stream(messages, options);
  }

  async save(path: string): Promise<void> {
    if (this.#asleep) {
      const copy = `${path}.partial-${randomUUID()}`;
      try {
        await copyFile(this.#asleep.path, copy);
        return await rename(copy, path);
      } finally {
        await rm(copy, { force: true }); // where the disk was full
      }
    }
    if (!this.#session)
      throw new ApiError(404, "id: expected a slot with a conversation, found an empty one; ask with id_slot first", { param: "id" });
    await this.#session.save(path);
  }

  async restore(model: JambaModel, path: string, tenant: Tenant | undefined): Promise<void> {
    this.#become(await model.openSession(path, { tenant }));
  }

  /** Turns under way end first. */
  async erase(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await this.#forgetFile();
    await session?.dispose();
  }

  /** Into the file `path`: its model goes, or others need its memory. */
  async sleep(path: string): Promise<void> {
    const session = this.#session;
    if (!session) return;
    await session.save(path);
    const asleep = { path, tokens: session.tokens.length };
    if (this.#session === session) {
      this.#asleep = asleep;
      this.#session = undefined;
    } else await rm(path, { force: true }).catch(() => undefined); // it was asked for something else meanwhile
    await session.dispose();
  }

  #become(session: Session): void {
    void this.#session?.dispose();
    void this.#forgetFile();
    this.#session = session;
    this.#onUse(this);
  }

  async #forgetFile(): Promise<void> {
    const asleep = this.#asleep;
    this.#asleep = undefined;
    // What can't be removed goes with its folder, when the server ends.
    if (asleep) await rm(asleep.path, { force: true }).catch(() => undefined);
  }
}

/** What is no name of a file everywhere: devices of Windows, whatever they end in. */
const reserved = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/** Whether a name is one that a slot may have: no path, none of files that are being written, none that some system takes otherwise. */
export function isSlotName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/.test(name) && !/\.partial-|\.$/i.test(name) && !reserved.test(name);
}

/**
 * Each tenant has `count` slots. So many conversations are in memory in all: of more, those that were least lately asked for wait in files.
 */
export class Slots {
  readonly #folder: string;
  readonly #count: number;
  readonly #slots = new Map<string | undefined, readonly Slot[]>();
  /** In memory, the least lately used first. */
  readonly #awake = new Set<Slot>();
  #beds: Promise<string> | undefined;

  constructor(folder: string, count: number) {
    this.#folder = folder;
    this.#count = count;
  }

  /** Of a tenant, or of all who come without a key. */
  of(tenant?: Tenant): readonly Slot[] {
    const found = this.#slots.get(tenant?.name) ?? Array.from({ length: this.#count }, () => new Slot((slot) => this.#use(slot)));
    this.#slots.set(tenant?.name, found);
    return found;
  }

  /** @throws ApiError 400 */
  at(id: number, tenant?: Tenant): Slot {
    const slot = this.of(tenant)[id];
    if (!slot) throw badRequest("id_slot", `expected one in [0, ${this.#count - 1}], found ${id}`);
    return slot;
  }

  /** @returns the file's size. @throws ApiError, which tells nothing of where it is */
  async save(id: number, filename: string, tenant?: Tenant): Promise<number> {
    try {
      const folder = this.#folderOf(tenant);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const path = await this.#pathOf(folder, filename);
      await this.at(id, tenant).save(path);
      return (await stat(path)).size;
    } catch (error) {
      throw told(error, "filename: the slot could not be written; the server's log says why");
    }
  }

  /** @throws ApiError, which tells nothing of where it is */
  async restore(id: number, model: JambaModel, filename: string, tenant?: Tenant): Promise<number> {
    try {
      const path = await this.#pathOf(this.#folderOf(tenant), filename);
      const found = await lstat(path).catch(() => undefined);
      if (!found) throw new ApiError(404, `filename: expected a saved slot, found none of the name ${filename}`, { param: "filename" });
      await this.at(id, tenant).restore(model, path, tenant);
      return found.size;
    } catch (error) {
      if (error instanceof JambaError && (error.code === "LOAD" || error.code === "SESSION_MISMATCH")) {
        const kind = error.code === "LOAD" ? "one that is damaged, or another kind of file" : "one of another model";
        throw new ApiError(400, `filename: expected a slot that was saved with this model, found ${kind}`, {
          ...{ param: "filename", code: "invalid_value", cause: error },
        });
      }
      throw told(error, "filename: the slot could not be read; the server's log says why");
    }
  }

  /** Puts all conversations into files of `folder`, since their model goes. @throws once none is being written any more */
  async sleep(folder: string): Promise<void> {
    const slots = [...this.#slots.values()].flat();
    const ends = await Promise.allSettled(slots.map((slot) => slot.sleep(join(folder, `slot-${randomUUID()}`))));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  /**
   * Saves what every slot holds, for `restoreAll` of a later server; what a slot without a conversation had saved goes.
   * @param model its id, since the slots of several may have one folder
   */
  async saveAll(model: string): Promise<void> {
    for (const [name, slots] of this.#slots)
      for (const [id, slot] of slots.entries()) {
        const tenant = name === undefined ? undefined : { name };
        if (slot.tokens > 0) await this.save(id, exitName(model, id), tenant);
        else await rm(join(this.#folderOf(tenant), exitName(model, id)), { force: true });
      }
  }

  /** @param tenants of which there may be something. @param onError hears why a slot could not come back; it stays empty */
  async restoreAll(
    id: string,
    model: JambaModel,
    tenants: readonly (Tenant | undefined)[],
    onError: (error: unknown) => void,
  ): Promise<void> {
    for (const tenant of tenants)
      for (let slot = 0; slot < this.#count; slot++) {
        const path = join(this.#folderOf(tenant), exitName(id, slot));
        const isEmpty = () => this.of(tenant)[slot].tokens === 0;
        if ((await lstat(path).catch(() => undefined)) && isEmpty())
          await this.restore(slot, model, exitName(id, slot), tenant).catch(onError);
      }
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#slots.values()].flat().map((slot) => slot.erase()));
    const beds = await this.#beds?.catch(() => undefined);
    this.#beds = undefined;
    if (beds !== undefined) await rm(beds, { recursive: true, force: true }).catch(() => undefined);
  }

  /** With keys each has a folder of its own, of a name that no slot can have. */
  #folderOf(tenant: Tenant | undefined): string {
    if (!tenant) return this.#folder;
    return join(this.#folder, `.key-${createHash("sha256").update(tenant.name).digest("hex").slice(0, 32)}`);
  }

  /** @throws ApiError 400 for a name that is none, and where something else than a file has it, such as a link that leads elsewhere */
  async #pathOf(folder: string, filename: string): Promise<string> {
    const path = join(folder, filename);
    const ifThere = (where: string) => lstat(where).catch(() => undefined);
    const [within, found] = [folder === this.#folder ? undefined : await ifThere(folder), await ifThere(path)];
    if (isSlotName(filename) && (!within || within.isDirectory()) && (!found || found.isFile())) return path;
    throw badRequest("filename", "expected a name of letters, digits, dots, dashes and underscores that a file may have here");
  }

  #use(slot: Slot): void {
    this.#awake.delete(slot);
    this.#awake.add(slot);
    for (const one of this.#awake) if (!one.isAwake) this.#awake.delete(one);
    if (this.#awake.size <= this.#count) return;
    const [least] = this.#awake;
    this.#awake.delete(least);
    this.#beds ??= mkdtemp(join(tmpdir(), "jamba-slots-"));
    // Where it can't be written its memory counts for more: the conversation is read anew when it is asked for.
    void this.#beds.then((folder) => least.sleep(join(folder, randomUUID()))).catch(() => least.erase().catch(() => undefined));
  }
}

/** `on-exit-tiny-0`; where the model's id has characters that no file may have, with a hash of it. */
function exitName(model: string, slot: number): string {
  const name = model.replace(/[^A-Za-z0-9_]/g, "-").slice(0, 64);
  const hash = name === model ? "" : `-${createHash("sha256").update(model).digest("hex").slice(0, 8)}`;
  return `on-exit-${name}${hash}-${slot}`;
}

/** What a client is told of an error that speaks of the server's files. */
function told(error: unknown, message: string): unknown {
  if (error instanceof ApiError) return error;
  const { code } = error as { readonly code?: unknown };
  if (code === "DISK_FULL" || code === "ENOSPC" || code === "EDQUOT")
    return new ApiError(507, "filename: expected room on the server's disk, found none", {
      code: "disk_full",
      param: "filename",
      cause: error,
    });
  if (error instanceof JambaError && code !== "LOAD") return error;
  return new ApiError(500, message, { code: "slot_failed", param: "filename", cause: error });
}
