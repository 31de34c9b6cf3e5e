// Bodies of requests: read no faster than there is room for all of them, and no slower than somebody who means it sends them.

import type { Context } from "hono";
import { ApiError, bodyTooLarge, busy } from "./errors.ts";
import type { Env } from "./route.ts";
import type { Services } from "./services.ts";

/** Milliseconds that a request waits until bodies before it are let go. */
const patienceMs = 10_000;

/** Bytes of a body that counts as small: the last quarter of the room is for these alone, so that long ones hold up no short ones. */
const small = 64 * 1024;

/** A body may take so long, and the time that its bytes take at the least rate, in bytes per millisecond: 0.5 Mbit a second. */
const [graceMs, leastRate] = [10_000, 64];

interface Waiting {
  readonly bytes: number;
  readonly holder: string | undefined;
  grant(): void;
}

/** Bytes of bodies that are held, from their first byte until their answers have ended. */
export class BodyRoom {
  readonly #max: number;
  readonly #held = new Map<string | undefined, number>();
  #line: Waiting[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#max = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * @param holder who sends them, if that is known: one alone holds half of the room at most, unless with a single body
   * @returns what gives them back
   * @throws ApiError 503 where there is no room for long, the signal's reason
   */
  async take(bytes: number, holder: string | undefined, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const mayPass = bytes <= small || this.#line.every((other) => this.#hasShare(other.bytes, other.holder));
    if (mayPass && this.#fits(bytes, holder)) this.#add(bytes, holder);
    else await this.#wait(bytes, holder, signal);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#add(-bytes, holder);
      this.#grant();
    };
  }

  #wait(bytes: number, holder: string | undefined, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        this.#line = this.#line.filter((other) => other !== waiting);
      };
      const refuse = (reason: unknown) => {
        leave();
        reject(reason);
        this.#grant();
      };
      const abort = () => refuse(signal.reason);
      const grant = () => {
        leave();
        this.#add(bytes, holder);
        resolve();
      };
      const waiting = { bytes, holder, grant };
      const timer = setTimeout(() => refuse(busy()), patienceMs);
      signal.addEventListener("abort", abort);
      this.#line.push(waiting);
    });
  }

  /** In the order in which they came. Who holds too much already holds up no others, and nobody a small one. */
  #grant(): void {
    let isBlocked = false;
    for (const { bytes, holder, grant } of [...this.#line]) {
      if (this.#fits(bytes, holder) && (bytes <= small || !isBlocked)) grant();
      else if (!this.#hasShare(bytes, holder)) isBlocked = true;
    }
  }

  #fits(bytes: number, holder: string | undefined): boolean {
    const room = bytes > small ? Math.max(bytes, 0.75 * this.#max) : Math.max(bytes, this.#max);
    return this.#bytes + bytes <= room && !this.#hasShare(bytes, holder);
  }

  /** Whether what they hold is as much as they may. */
  #hasShare(bytes: number, holder: string | undefined): boolean {
    if (holder === undefined) return false;
    const held = this.#held.get(holder) ?? 0;
    return held > 0 && held + bytes > this.#max / 2;
  }

  #add(bytes: number, holder: string | undefined): void {
    this.#bytes += bytes;
    const held = (this.#held.get(holder) ?? 0) + bytes;
    if (held > 0) this.#held.set(holder, held);
    else this.#held.delete(holder);
  }
}

/**
 * The text of a body, which counts as held until the exchange ends.
 * @throws ApiError 413, 503 where there is no room, 408 for one that comes too slowly
 */
export async function bodyText(c: Context<Env>, { options, bodies }: Services): Promise<string> {
  const exchange = c.get("exchange");
  const { maxBodyBytes } = options;
  const declared = c.req.header("content-length");
  if (declared !== undefined && Number(declared) > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
  const take = async (bytes: number) => {
    exchange.atEnd(await bodies.take(bytes, exchange.tenant?.name, exchange.left.signal));
    return bytes;
  };
  let room = await take(declared === undefined ? Math.min(small, maxBodyBytes) : Number(declared));
  const reader = c.req.raw.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let [text, received] = ["", 0];
  for await (const chunk of inTime(reader)) {
    received += chunk.byteLength;
    if (received > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
    // All that it may still become at once: with a part each, none could come to its end.
    if (received > room) room += await take(maxBodyBytes - room);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

async function* inTime(reader: ReadableStreamDefaultReader<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  let timer: NodeJS.Timeout | undefined;
  let allowed = graceMs;
  try {
    for (;;) {
      const start = performance.now();
      const late = new Promise<never>((_, reject) => {
        const tooSlow = new ApiError(408, "body: expected it sooner", { code: "body_too_slow", headers: { connection: "close" } });
        timer = setTimeout(() => reject(tooSlow), allowed);
      });
      const next = await Promise.race([reader.read(), late]).finally(() => clearTimeout(timer));
      if (next.done) return;
      allowed += next.value.byteLength / leastRate - (performance.now() - start);
      yield next.value;
    }
  } finally {
    // What is left is not read; a connection that it would come on is closed.
    reader.cancel().catch(() => undefined);
  }
}
