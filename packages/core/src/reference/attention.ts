import type { CommandOf } from "../command.ts";
import { roundFloats } from "../dtype.ts";
import { dot, type StepContext } from "./context.ts";

export function attention({ q, k, v, layer, out }: CommandOf<"attention">, step: StepContext): void {
  const kv = step.kv(layer);
  const { nKvHeads, headDim } = kv.spec;
  const nHeads = q.shape[1] / headDim;
  const [qs, ks, vs, ys] = [step.f32(q), step.f32(k), step.f32(v), step.f32(out)];
  for (const { from, to, seen, pages } of step.sequences) {
    const weights = new Float64Array(seen + to - from);
    for (let t = from; t < to; t++) {
      const position = seen + t - from;
      for (let head = 0; head < nKvHeads; head++) {
        const at = kv.at(head, position);
        for (const [page, values, stride] of [
          [kv.k(pages, position), ks, k.rowStride],
          [kv.v(pages, position), vs, v.rowStride],
        ] as const) {
          const vector = page.subarray(at, at + headDim);
          vector.set(values.subarray(t * stride + head * headDim, t * stride + (head + 1) * headDim));
          roundFloats(vector, kv.dtype);
        }
      }
      for (let head = 0; head < nHeads; head++) {
        const kvHead = Math.floor((head * nKvHeads) / nHeads);
        let max = Number.NEGATIVE_INFINITY;
        for (let s = 0; s <= position; s++) {
          const score = dot(qs, t * q.rowStride + head * headDim, kv.k(pages, s), kv.at(kvHead, s), headDim) / Math.sqrt(headDim);
          weights[s] = score;
          max = Math.max(max, score);
        }
        let sum = 0;
        for (let s = 0; s <= position; s++) {
          weights[s] = Math.exp(weights[s] - max);
          sum += weights[s];
        }
        const y = new Float64Array(headDim);
        for (let s = 0; s <= position; s++) {
          const [page, at] = [kv.v(pages, s), kv.at(kvHead, s)];
          for (let i = 0; i < headDim; i++) y[i] += (weights[s] / sum) * page[at + i];
        }
        ys.set(y, t * q.shape[1] + head * headDim);
      }
    }
  }
}
