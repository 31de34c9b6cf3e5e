// Memory of a device, and what goes on there in the order of the calls. Errors are core's; one that says that the device is gone is told once more,
// to whoever waits for that.

import type { JambaError } from "@jamba/core";
import { type NativeDevice, toJambaError } from "./addon.ts";
import { type Grid, type Kernels, Launches, type Numbers } from "./kernels.ts";

const none = new Uint8Array(0);

export class CudaMemory {
  /** Resolves when the device is gone. */
  readonly lost: Promise<JambaError>;
  #onLost!: (error: JambaError) => void;
  #tokens = 0;
  /** What stored rows are copied to before a kernel converts them. */
  #raw = 0;

  constructor(
    readonly native: NativeDevice,
    readonly kernels: Kernels,
    readonly totalBytes: number,
  ) {
    this.lost = new Promise((resolve) => {
      this.#onLost = resolve;
    });
  }

  async told<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (cause) {
      const error = toJambaError(cause);
      if ((error as JambaError).code === "DEVICE_LOST") this.#onLost(error as JambaError);
      throw error;
    }
  }

  allocate(bytes: number, what: string): Promise<number> {
    return this.told(this.native.allocate(bytes, what));
  }

  /** After all that was asked before. */
  release(address: number): void {
    // Who frees does not wait; that the device is gone hears who asks something of it.
    this.native.release(address).catch(() => undefined);
  }

  /** Addresses for as much as the device has, with nothing behind them. */
  range(): Promise<number> {
    return this.told(this.native.reserve(this.totalBytes));
  }

  map(range: number, bytes: number, what: string): Promise<number> {
    return this.told(this.native.map(range, bytes, what));
  }

  /** Settles when the bytes are the caller's again. */
  write(to: number, bytes: Uint8Array): Promise<void> {
    return this.told(this.native.run([], to, bytes, none, 0, [], -1));
  }

  read(from: number, outputs: readonly ArrayBufferView[]): Promise<void> {
    return this.told(this.native.run([], 0, none, none, from, outputs, -1));
  }

  /** A step: `needs` are ranges and how many bytes of them it uses. */
  run(
    needs: readonly number[],
    words: { readonly to: number; readonly values: Int32Array },
    launches: Uint8Array,
    results: { readonly from: number; readonly outputs: readonly ArrayBufferView[] },
  ): { readonly done: Promise<void>; cancel(): void } {
    const token = this.#tokens++;
    const { to, values } = words;
    const done = this.told(this.native.run(needs, to, values, launches, results.from, results.outputs, token));
    return { done, cancel: () => this.native.cancel(token) };
  }

  /** Stored rows by a kernel of pack.cu, from where they came to where they belong. */
  async convert(raw: Uint8Array, name: string, params: Numbers, grid: Grid): Promise<void> {
    const [kernel] = await Promise.all([this.kernels.get("pack", name), this.#openRaw()]);
    const launches = new Launches([{ kernel, params: { raw: this.#raw, ...params } }]);
    launches.setGrid(0, grid);
    await this.told(this.native.run([this.#raw, raw.byteLength], this.#raw, raw, launches.bytes, 0, [], -1));
  }

  /** What was allocated from outside is released there. */
  async dispose(): Promise<void> {
    await this.#opening?.catch(() => undefined);
    if (this.#raw) this.release(this.#raw);
    await this.native.close();
  }

  #opening?: Promise<void>;
  #openRaw(): Promise<void> {
    this.#opening ??= this.range().then((range) => {
      this.#raw = range;
    });
    return this.#opening;
  }
}
