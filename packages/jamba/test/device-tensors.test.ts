// What `forward` gives in buffers of the GPU is what it gives in host memory.

import { openWebGpuBackend } from "@jamba/backend-webgpu";
import type { Backend, HostTensor } from "@jamba/core";
import { expect, test } from "vitest";
import { findAdapter } from "../../../tooling/software-gpu/src/adapter.ts";
import { type ForwardResult, loadModel } from "../src/index.ts";
import { goldenFolder } from "./golden.ts";

const onWarning = () => undefined;
const ids = Array.from({ length: 21 }, (_, i) => 1 + ((7 * i) % 50));

/** By name. */
const tensorsOf = ({ logits, hidden = [], routes = [] }: ForwardResult): [name: string, tensor: HostTensor][] => [
  ["logits", logits],
  ...hidden.map((tensor, i) => [`hidden.${i}`, tensor] as [string, HostTensor]),
  ...routes.flatMap((route, i): [string, HostTensor][] =>
    route
      ? [
          [`experts.${i}`, route.experts],
          [`weights.${i}`, route.weights],
        ]
      : [],
  ),
];

test("logits, hidden states and routes stay on the GPU, of a prompt in chunks too, beside calls that want them on the host", async ({
  skip,
}) => {
  const found = await findAdapter();
  if (typeof found === "string") return skip(found);
  const opened = await openWebGpuBackend({ gpu: found.gpu });
  // In chunks of 8 tokens.
  const device = { ...opened.device, chunkTokens: 8 };
  const backend: Backend = new Proxy(opened, {
    get: (target, key) => {
      const value = key === "device" ? device : target[key as keyof Backend];
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  {
    await using model = await loadModel(goldenFolder("base"), { backend, onWarning });
    const wanted = { hidden: true, routes: true } as const;
    for (const logits of ["all", "last"] as const) {
      const forward = (location?: "gpu-buffer") => model.forward(ids, { ...wanted, logits, location });
      const expected = await forward();
      const results = [await forward("gpu-buffer"), ...(await Promise.all([forward("gpu-buffer"), forward(), forward("gpu-buffer")]))];
      for (const result of results) {
        for (const [i, [name, tensor]] of tensorsOf(result).entries()) {
          const [, like] = tensorsOf(expected)[i];
          expect([name, tensor.dims, tensor.type]).toEqual([name, like.dims, like.type]);
          const values = (await tensor.getData()) as Float32Array;
          for (const [at, value] of (like.data as Float32Array).entries()) expect(values[at], `${name} ${at}`).toBeCloseTo(value, 4);
          tensor.dispose();
        }
        result.state.dispose();
      }
      expect(results.map(({ logits }) => logits.location)).toEqual(["none", "none", "none", "none"]);
      expected.state.dispose();
    }
    const { slots } = model.inUse();
    expect(slots).toBe(0);
  }
  await opened.dispose();
});

test("a backend without buffers refuses them with UNSUPPORTED, and a location that is none with OPTION", async () => {
  await using model = await loadModel(goldenFolder("base"), { backend: "reference", onWarning });
  await expect(model.forward(ids, { location: "gpu-buffer" })).rejects.toMatchObject({ code: "UNSUPPORTED" });
  await expect(model.forward(ids, { location: "texture" as never })).rejects.toMatchObject({ code: "OPTION" });
  expect(model.inUse().slots).toBe(0);
});
