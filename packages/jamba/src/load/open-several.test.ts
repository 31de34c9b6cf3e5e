import type { Weight } from "@jamba/core";
import type { ModelTensor } from "@jamba/loader";
import { describe, expect, test } from "vitest";
import { openSeveral } from "./open-several.ts";

const tensor = (name: string, ...shape: number[]): ModelTensor => ({ name, shape, role: "matrix", part: "mlp" });
const small = Array.from({ length: 40 }, (_, i) => tensor(`small ${i}`, 16));

/** Opens a weight when a test says so, and notes what happens to it. */
class Shelf {
  readonly coming = new Map<string, { done: () => void; fail: (error: unknown) => void; signal: AbortSignal }>();
  readonly begun: string[] = [];
  readonly kept: string[] = [];
  readonly disposed: string[] = [];
  readonly keep = ({ name }: Weight) => void this.kept.push(name);

  readonly open = ({ name, shape }: ModelTensor, signal?: AbortSignal) =>
    new Promise<Weight & Disposable>((resolve, reject) => {
      this.begun.push(name);
      const end = (settle: () => void) => () => {
        this.coming.delete(name);
        settle();
      };
      const weight = { name, shape, dtype: "f32" as const, [Symbol.dispose]: () => void this.disposed.push(name) };
      this.coming.set(name, { done: end(() => resolve(weight)), fail: (error) => end(() => reject(error))(), signal: signal! });
      signal!.addEventListener("abort", () => this.coming.get(name)?.fail(signal!.reason));
    });

  async settle(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve));
  }
}

describe("weights that are opened several at once", () => {
  test("are at most eight, and kept in their order whichever comes first", async () => {
    const shelf = new Shelf();
    const opening = openSeveral(small, shelf.open, { keep: shelf.keep });
    let most = 0;
    for (await shelf.settle(); shelf.coming.size > 0; await shelf.settle()) {
      most = Math.max(most, shelf.coming.size);
      [...shelf.coming.values()].at(-1)!.done();
    }
    const names = small.map(({ name }) => name);
    expect(most).toBe(8);
    expect((await opening).map(({ name }) => name)).toEqual(names);
    expect([shelf.begun, shelf.kept]).toEqual([names, names]);
  });

  test("are fewer where they are large: two pieces of each and 16 MiB of all lie beside the result", async () => {
    const shelf = new Shelf();
    const tensors = [
      tensor("a", 4096, 4096),
      tensor("b", 8, 4096, 4096),
      tensor("c", 1),
      tensor("d", 3 * 2 ** 20),
      tensor("e", 3 * 2 ** 20),
    ];
    const opening = openSeveral(tensors, shelf.open, {});
    const atOnce: string[] = [];
    for (await shelf.settle(); shelf.coming.size > 0; await shelf.settle()) {
      atOnce.push([...shelf.coming.keys()].join(""));
      [...shelf.coming.values()][0].done();
    }
    await opening;
    expect(atOnce).toEqual(["ab", "bc", "cd", "de", "e"]);
  });

  test("end with the first that fails: the others hear of it, none is begun after it, and who was not kept is let go of", async () => {
    const shelf = new Shelf();
    const failure = new Error("damaged");
    const opening = openSeveral(small, shelf.open, { keep: shelf.keep });
    opening.catch(() => undefined);
    await shelf.settle();
    for (const i of [0, 2, 5]) shelf.coming.get(`small ${i}`)!.done();
    await shelf.settle();
    const { signal } = shelf.coming.get("small 8")!;
    shelf.coming.get("small 4")!.fail(failure);
    await expect(opening).rejects.toBe(failure);
    expect(signal.aborted).toBe(true);
    expect(shelf.begun).toHaveLength(11);
    expect(shelf.coming.size).toBe(0);
    expect([shelf.kept, shelf.disposed]).toEqual([["small 0"], ["small 2", "small 5"]]);
  });

  test("end with the signal's reason, however an aborted one says so, once all have ended", async () => {
    const shelf = new Shelf();
    const [stop, reason] = [new AbortController(), new Error("enough")];
    const late = shelf.open(small[0], new AbortController().signal);
    const open = (one: ModelTensor, signal?: AbortSignal) =>
      one === small[0] ? late : shelf.open(one, signal).catch(() => Promise.reject(new Error("terminated")));
    let isOver = false;
    const opening = openSeveral(small, open, { keep: shelf.keep, signal: stop.signal }).finally(() => {
      isOver = true;
    });
    opening.catch(() => undefined);
    await shelf.settle();
    shelf.coming.get("small 1")!.done();
    stop.abort(reason);
    await shelf.settle();
    expect(isOver).toBe(false);
    shelf.coming.get("small 0")!.done();
    await expect(opening).rejects.toBe(reason);
    expect([shelf.kept, shelf.disposed]).toEqual([[], ["small 0", "small 1"]]);
  });

  test("throw what opening throws at once, too", async () => {
    const shelf = new Shelf();
    const failure = new Error("no such dtype");
    const open = (one: ModelTensor, signal?: AbortSignal) => {
      if (one === small[3]) throw failure;
      return shelf.open(one, signal);
    };
    await expect(openSeveral(small, open, { keep: shelf.keep })).rejects.toBe(failure);
    expect([shelf.begun.length, shelf.coming.size]).toEqual([3, 0]);
  });
});
