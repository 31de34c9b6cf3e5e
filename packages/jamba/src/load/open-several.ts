// Several weights of a model on their way at once: a device waits for no round trip to another thread or to a server.

import type { Weight } from "@jamba/core";
import type { ModelTensor } from "@jamba/loader";
import type { LoadWeightsOptions, OpenWeight } from "./open-weights.ts";

const mostAtOnce = 8;

/** What is read and not yet packed of them together: the result and so much is the most that a load takes. */
const mostBytesAtOnce = 16 * 2 ** 20;

/** The same of one, which is read while the piece before is packed: twice what core/src/device/read-weight.ts reads at once. */
const mostBytesOfOne = 8 * 2 ** 20;

/** At most, for no checkpoint stores more than 4 bytes a value. */
const bytesOf = ({ shape }: ModelTensor) => Math.min(mostBytesOfOne, 4 * shape.reduce((a, b) => a * b, 1));

/**
 * Opens weights, in turn and several at once. Where one fails or the signal aborts, the others end too, and those that `keep` did not hear
 * of are let go.
 * @returns them in the order of `tensors`
 */
export async function openSeveral(
  tensors: readonly ModelTensor[],
  open: OpenWeight,
  { signal, keep }: LoadWeightsOptions,
): Promise<Weight[]> {
  const stop = new AbortController();
  const either = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const opened: (Weight & Disposable)[] = [];
  const opening = new Set<Promise<void>>();
  let [bytes, nKept] = [0, 0];
  const begin = (tensor: ModelTensor, index: number) => {
    const own = bytesOf(tensor);
    // Each its own, since readers listen to it by the dozen.
    const work = open(tensor, AbortSignal.any([either]))
      .then(
        (weight) => {
          opened[index] = weight;
        },
        (error) => stop.abort(error),
      )
      .then(() => {
        bytes -= own;
        opening.delete(work);
      });
    bytes += own;
    opening.add(work);
  };
  const keepThose = () => {
    for (; keep && opened[nKept]; nKept++) keep(opened[nKept]);
  };
  try {
    for (const [index, tensor] of tensors.entries()) {
      while (opening.size >= mostAtOnce || (opening.size > 0 && bytes + bytesOf(tensor) > mostBytesAtOnce)) await Promise.race(opening);
      keepThose();
      either.throwIfAborted();
      begin(tensor, index);
    }
    await Promise.all(opening);
    keepThose();
    either.throwIfAborted();
    return opened;
  } catch (error) {
    stop.abort(error);
    await Promise.all(opening);
    for (const weight of opened.slice(nKept)) weight?.[Symbol.dispose]();
    throw error;
  }
}
