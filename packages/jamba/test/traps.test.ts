// Faults that other engines shipped, planted on purpose: each must be seen by the goldens. (An unchanged model passes them.)

import {
  type CommandOf,
  fromF16,
  openReference,
  type ReferenceKernels,
  referenceKernels,
  toF16,
  toHostState,
  type WeightSource,
} from "@jamba/core";
import { type Checkpoint, parseConfig, type TensorFile } from "@jamba/loader";
import { expect, test } from "vitest";
import type { Runner } from "../src/engine/runner.ts";
import { advance, type GoldenCase, goldenFolder, logitError, logitTolerance, openGolden, openRunner, worst } from "./golden.ts";

type StepContext = Parameters<ReferenceKernels["route"]>[1];

async function errorWith(name: GoldenCase, change: Parameters<typeof openRunner>[1]): Promise<number> {
  return logitError(await openRunner(name, change), await openGolden(name));
}

const withKernels = (kernels: Partial<ReferenceKernels>) => ({ backend: openReference({ kernels }) });

/** The checkpoint with the bytes of some tensors changed. */
function withTensors(matches: RegExp, change: (values: Float32Array, columns: number) => Float32Array) {
  return {
    file: (file: Checkpoint): TensorFile => ({
      name: file.name,
      tensors: file.tensors,
      weight(name): WeightSource {
        const source = file.weight(name);
        if (!matches.test(name)) return source;
        const rows = source.shape.slice(0, -1).reduce((a, b) => a * b, 1);
        const columns = source.shape.at(-1)!;
        const read: WeightSource["read"] = async (from, to) => {
          const all = new Float32Array((await source.read(0, rows)).slice().buffer);
          const changed = change(all, columns);
          return new Uint8Array(changed.slice(from * columns, to * columns).buffer);
        };
        return { name, dtype: source.dtype, shape: source.shape, read };
      },
    }),
  };
}

test("routing that renormalises the chosen experts' weights is found", async () => {
  function route(command: CommandOf<"route">, step: StepContext) {
    referenceKernels.route(command, step);
    const [weights, k] = [step.f32(command.weights), command.weights.shape[1]];
    for (let t = 0; t < weights.length; t += k) {
      const sum = weights.subarray(t, t + k).reduce((a, b) => a + b, 0);
      for (let j = t; j < t + k; j++) weights[j] /= sum;
    }
  }
  expect(await errorWith("base", withKernels({ route }))).toBeGreaterThan(100 * logitTolerance);
});

test.each(["dt", "b", "c"])("a dropped %s norm is found", async (norm) => {
  function rmsNorm(command: CommandOf<"rmsNorm">, step: StepContext) {
    if (!command.weight.name.endsWith(`${norm}_layernorm.weight`)) return referenceKernels.rmsNorm(command, step);
    const [L, N] = command.x.shape;
    const [from, to] = [step.f32(command.x), step.f32(command.out)];
    for (let t = 0; t < L; t++) for (let i = 0; i < N; i++) to[t * N + i] = from[t * command.x.rowStride + i];
  }
  expect(await errorWith("base", withKernels({ rmsNorm }))).toBeGreaterThan(100 * logitTolerance);
});

test("rotary positions in attention are found", async () => {
  function attention(command: CommandOf<"attention">, step: StepContext) {
    const { headDim } = step.kv(command.layer).spec;
    for (const x of [command.q, command.k]) {
      const values = step.f32(x);
      for (const { from, to, seen } of step.sequences) {
        for (let t = from; t < to; t++) {
          for (let i = 0; i < x.shape[1]; i += 2) {
            const angle = (seen + t - from) * 10000 ** -((i % headDim) / headDim);
            const at = t * x.rowStride + i;
            const [a, b] = [values[at], values[at + 1]];
            values[at] = a * Math.cos(angle) - b * Math.sin(angle);
            values[at + 1] = a * Math.sin(angle) + b * Math.cos(angle);
          }
        }
      }
    }
    referenceKernels.attention(command, step);
  }
  expect(await errorWith("base", withKernels({ attention }))).toBeGreaterThan(100 * logitTolerance);
});

test("a negated layer offset is found: no such tensors", async () => {
  const { config } = await import(`${goldenFolder("odd")}/config.json`, { with: { type: "json" } }).then((m) => ({ config: m.default }));
  for (const kind of ["attn", "expert"]) {
    const [period, offset] = [config[`${kind}_layer_period`], config[`${kind}_layer_offset`]];
    const negated = parseConfig({ ...config, [`${kind}_layer_offset`]: (period - offset) % period });
    await expect(openRunner("odd", { config: () => negated })).rejects.toMatchObject({ code: "LOAD" });
  }
});

test("padding on the right corrupts the state, and is found", async () => {
  const golden = await openGolden("base");
  const runner = await openRunner("base");
  const sequence = await runner.newSequence();
  await advance(runner, [{ sequence, ids: [...golden.ids, 0, 0, 0], rows: 0 }]);
  const state = await toHostState(sequence.seen, runner.export(sequence));
  const h = (state.layers[0] as { h: { data: Float32Array } }).h.data;
  const { error, magnitude } = worst(h, golden.floats("state.0.h"), undefined);
  expect(error / magnitude).toBeGreaterThan(1e-3);
});

test("f16 activations are found: the residual stream is beyond 65504", async () => {
  const kernels = Object.fromEntries(
    Object.entries(referenceKernels).map(([op, kernel]) => [
      op,
      (command: never, step: StepContext) => {
        (kernel as (command: never, step: StepContext) => void)(command, step);
        const { out, outs = [out] } = command as { out?: CommandOf<"embed">["out"]; outs?: CommandOf<"matmul">["outs"] };
        for (const tensor of outs) {
          if (tensor?.dtype !== "f32") continue;
          const values = step.f32(tensor);
          for (let i = 0; i < values.length; i++) values[i] = fromF16(toF16(values[i]));
        }
      },
    ]),
  );
  expect(await errorWith("bf16-loud", withKernels(kernels))).toBe(Number.POSITIVE_INFINITY);
});

test("convolution weights in the other order are found", async () => {
  const reversed = withTensors(/conv1d\.weight/, (values, columns) => {
    const out = values.slice();
    for (let row = 0; row < out.length; row += columns) out.subarray(row, row + columns).reverse();
    return out;
  });
  expect(await errorWith("base", reversed)).toBeGreaterThan(100 * logitTolerance);
});

test("x and z of inProj swapped are found", async () => {
  const swapped = withTensors(/in_proj\.weight/, (values) => {
    const half = values.length / 2;
    return Float32Array.from([...values.slice(half), ...values.slice(0, half)]);
  });
  expect(await errorWith("base", swapped)).toBeGreaterThan(100 * logitTolerance);
});

test("dt, B and C of xProj in another order are found", async () => {
  // Rotating the rows by dState moves C to the front, where dt belongs.
  const rotated = withTensors(/x_proj\.weight/, (values, columns) =>
    Float32Array.from([...values.slice(-16 * columns), ...values.slice(0, -16 * columns)]),
  );
  expect(await errorWith("base", rotated)).toBeGreaterThan(100 * logitTolerance);
});

test("a scan that starts from zeros in every chunk is found", async () => {
  const golden = await openGolden("base");
  function selectiveScan(command: CommandOf<"selectiveScan">, step: StepContext) {
    referenceKernels.selectiveScan(command, { ...step, sequences: step.sequences.map((s) => ({ ...s, seen: 0 })) });
  }
  const runner: Runner = await openRunner("base", withKernels({ selectiveScan }));
  const sequence = await runner.newSequence();
  await advance(runner, [{ sequence, ids: golden.ids.slice(0, 20), rows: 0 }]);
  const step = await advance(runner, [{ sequence, ids: golden.ids.slice(20), rows: 1 }]);
  const logits = (await step.read("logits")).data as Float32Array;
  expect(worst(logits, golden.floats("logits").slice(-logits.length), [0]).error).toBeGreaterThan(100 * logitTolerance);
});

test.each(["base", "odd", "bf16-loud"] as const)("and the model without a fault passes %s", async (name) => {
  expect(await errorWith(name, {})).toBeLessThanOrEqual(logitTolerance);
});
