// Conversations with a number, which can be saved to files and come back from them. Knows messages, no HTTP.

import { randomUUID } from "node:crypto";
import { copyFile, mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { GenerateOptions, JambaModel, Message, Session, SessionOptions, TextStream } from "jamba";
import { ApiError, badRequest } from "./errors.ts";

type Template = Pick<SessionOptions, "tools" | "documents" | "knobs" | "variables">;

/** One conversation at a time: the last that asked for this slot. Its state stays in memory. */
class Slot {
  #session: Session | undefined;
  /** Where it lies while its model is not there. */
  #asleep: { readonly path: string; readonly tokens: number } | undefined;

  get tokens(): number {
    return this.#session?.tokens.length ?? this.#asleep?.tokens ?? 0;
  }

  /** What the conversation before shares with this one is not read again: its state is kept like any other. */
  stream(model: JambaModel, messages: readonly Message[], template: Template, options: GenerateOptions): TextStream {
    this.#become(model.session(template));
    return this.#session!.stream(messages, options);
  }

  async save(path: string): Promise<void> {
    if (this.#asleep) return copyFile(this.#asleep.path, path);
    if (!this.#session)
      throw new ApiError(404, "id: expected a slot with a conversation, found an empty one; ask with id_slot first", { param: "id" });
    await this.#session.save(path);
  }

  async restore(model: JambaModel, path: string): Promise<void> {
    this.#become(await model.openSession(path));
  }

  /** Turns under way end first. */
  async erase(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await this.#forgetFile();
    await session?.dispose();
  }

  /** Into the file `path`, since its model goes. */
  async sleep(path: string): Promise<void> {
    const session = this.#session;
    if (!session) return;
    await session.save(path);
    this.#asleep = { path, tokens: session.tokens.length };
    this.#session = undefined;
    await session.dispose();
  }

  #become(session: Session): void {
    void this.#session?.dispose();
    void this.#forgetFile();
    this.#session = session;
  }

  async #forgetFile(): Promise<void> {
    const asleep = this.#asleep;
    this.#asleep = undefined;
    // What can't be removed goes with its folder, when the server ends.
    if (asleep) await rm(asleep.path, { force: true }).catch(() => undefined);
  }
}

export class Slots {
  readonly #folder: string;
  readonly #slots: readonly Slot[];

  constructor(folder: string, count: number) {
    this.#folder = folder;
    this.#slots = Array.from({ length: count }, () => new Slot());
  }

  get all(): readonly Slot[] {
    return this.#slots;
  }

  /** @throws ApiError 400 */
  at(id: number): Slot {
    const slot = this.#slots[id];
    if (!slot) throw badRequest("id_slot", `expected one in [0, ${this.#slots.length - 1}], found ${id}`);
    return slot;
  }

  /** @param filename checked to be no path. @returns the file's size */
  async save(id: number, filename: string): Promise<number> {
    await mkdir(this.#folder, { recursive: true });
    const path = join(this.#folder, filename);
    await this.at(id).save(path);
    return (await stat(path)).size;
  }

  async restore(id: number, model: JambaModel, filename: string): Promise<number> {
    const path = join(this.#folder, filename);
    const found = await stat(path).catch(() => undefined);
    if (!found?.isFile())
      throw new ApiError(404, `filename: expected a saved slot, found none of the name ${filename}`, { param: "filename" });
    await this.at(id).restore(model, path);
    return found.size;
  }

  /** Puts all conversations into files of `folder`, since their model goes. @throws once none is being written any more */
  async sleep(folder: string): Promise<void> {
    const ends = await Promise.allSettled(this.#slots.map((slot) => slot.sleep(join(folder, `slot-${randomUUID()}`))));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#slots.map((slot) => slot.erase()));
  }
}
