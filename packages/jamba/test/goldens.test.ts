import { openCpuBackend, openWasmBackend, type WasmLevel } from "@jamba/backend-cpu";
import { randomChunks, seeded } from "@jamba/conformance";
import { openReference, toHostState, topOf } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Runner } from "../src/engine/runner.ts";
import {
  advance,
  cpuAbsent,
  cpuLevels,
  type Golden,
  goldenCases,
  logitTolerance,
  openGolden,
  openRunner,
  type Run,
  relativeTolerance,
  runChunks,
  worst,
} from "./golden.ts";

/** engines.mjs names all that an engine runs. */
const modules = (process.env.JAMBA_WASM_LEVELS ?? "simd128").split(",") as WasmLevel[];

// On cpu as f32: bf16 weights, of which there is a golden, may take activations in bf16 there (dtypes.test.ts).
const devices = [
  { device: "reference", dtype: "auto" as const, open: async () => openReference() },
  ...cpuLevels.map((level) => ({ device: `cpu, ${level}`, dtype: "f32" as const, open: () => openCpuBackend({ level }) })),
  ...modules.map((level) => ({ device: `wasm, ${level}`, dtype: "f32" as const, open: () => openWasmBackend({ level, threads: 2 }) })),
];
const all = devices.flatMap((device) => goldenCases.map((name) => ({ ...device, name })));

if (cpuAbsent) test("goldens on cpu", ({ skip }) => skip(cpuAbsent));

describe.each(all)("golden $name on $device", ({ name, dtype, open }) => {
  let golden: Golden;
  let runner: Runner;
  beforeAll(async () => {
    golden = await openGolden(name);
    runner = await openRunner(name, { backend: await open(), dtype });
  });
  afterAll(() => runner.backend.dispose());

  function expectLogits(found: Float32Array) {
    expect(worst(found, golden.floats("logits"), golden.rows).error).toBeLessThanOrEqual(logitTolerance);
  }

  function expectRun({ values }: Run) {
    expectLogits(values.get("logits")!);
    for (let layer = 0; layer <= runner.config.nLayers; layer++) {
      const { error, magnitude } = worst(values.get(`hidden.${layer}`)!, golden.floats(`hidden.${layer}`), golden.rows);
      expect(error / magnitude, `hidden.${layer}`).toBeLessThanOrEqual(relativeTolerance);
      if (!golden.has(`route.${layer}`)) continue;
      const k = runner.config.nActiveExperts;
      const routes = golden.rows.flatMap((row) => [...values.get(`experts.${layer}`)!.slice(row * k, (row + 1) * k)]);
      expect(routes, `route.${layer}`).toEqual(golden.integers(`route.${layer}`));
    }
  }

  async function expectState({ sequence }: Run) {
    const state = await toHostState(sequence.seen, runner.export(sequence));
    const { dConv } = runner.config;
    for (const [layer, found] of state.layers.entries()) {
      const close = (part: string, values: Float32Array, expected: Float32Array) => {
        const { error, magnitude } = worst(values, expected, undefined);
        expect(error / magnitude, `state.${layer}.${part}`).toBeLessThanOrEqual(relativeTolerance);
      };
      if (found.kind === "mamba") {
        // The golden keeps dConv columns; the oldest is not needed for the next step.
        const conv = golden.floats(`state.${layer}.conv`).filter((_, i) => i % dConv > 0);
        close("conv", found.conv.data as Float32Array, conv);
        close("h", found.h.data as Float32Array, golden.floats(`state.${layer}.h`));
      } else if (golden.has(`state.${layer}.k`)) {
        close("k", found.k.data as Float32Array, golden.floats(`state.${layer}.k`));
        close("v", found.v.data as Float32Array, golden.floats(`state.${layer}.v`));
      }
    }
  }

  test("one prefill gives every logit, hidden state, route and state", async () => {
    const run = await runChunks(runner, golden.ids, [golden.ids.length]);
    expectRun(run);
    await expectState(run);
  });

  test("token by token gives the same", async () => {
    const run = await runChunks(
      runner,
      golden.ids,
      golden.ids.map(() => 1),
    );
    expectRun(run);
    await expectState(run);
  });

  test("random chunks give the same", async () => {
    for (const seed of [1, 2, 3]) {
      const run = await runChunks(runner, golden.ids, randomChunks(seeded(seed), golden.ids.length));
      expectRun(run);
      await expectState(run);
    }
  });

  test("a ragged batch with strangers of mixed length gives the same", async () => {
    const random = seeded(4);
    const sequence = await runner.newSequence();
    const strangers = await Promise.all([0, 1, 2].map(() => runner.newSequence()));
    const rows: number[] = [];
    for (let from = 0; from < golden.ids.length; ) {
      const size = Math.min(golden.ids.length - from, 1 + Math.floor(random() * 40));
      const parts = strangers.map((stranger) => ({
        sequence: stranger,
        ids: Array.from({ length: Math.floor(random() * 9) }, () => Math.floor(random() * runner.config.vocabSize)),
        rows: 0,
      }));
      const at = Math.floor(random() * 4);
      const all = [...parts.slice(0, at), { sequence, ids: golden.ids.slice(from, from + size), rows: size }, ...parts.slice(at)];
      rows.push(...((await (await advance(runner, all)).read("logits")).data as Float32Array));
      from += size;
    }
    expectLogits(Float32Array.from(rows));
    await expectState({ sequence, values: new Map() });
  });

  test("greedy continuation is the golden's", async () => {
    const sequence = await runner.newSequence();
    const greedy: number[] = [];
    for (let ids = golden.ids; greedy.length < golden.greedy.length; ids = greedy.slice(-1)) {
      const { data } = await (await advance(runner, [{ sequence, ids, rows: 1 }])).read("logits");
      greedy.push(topOf(data as Float32Array, 1, 1).ids[0]);
    }
    expect(greedy).toEqual(golden.greedy);
  });
});
