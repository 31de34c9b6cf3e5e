// A checkpoint of random bf16 weights that is nowhere stored: what our side is prepared from.

import { matrixOf, sourceOf, toBf16, type WeightSource } from "@jamba/core";
import type { Checkpoint } from "@jamba/loader";
import { parseConfig } from "jamba";
import { sizeOf, type TensorSpec, tensorsOf, weightStd } from "./presets.ts";
import { fill, normals, randomFrom } from "./random.ts";

/** A prime, so that no two rows of a matrix are alike. */
const poolValues = 1048573;

/** @param json as config.json has it */
export function syntheticCheckpoint(name: string, json: Readonly<Record<string, unknown>>): Checkpoint {
  const random = randomFrom(2);
  const pool = new Uint8Array(Uint16Array.from(normals(random, poolValues + 1, weightStd), toBf16).buffer, 0, 2 * poolValues);
  const config = parseConfig(json, name);
  const sources = new Map<string, WeightSource>();
  for (const spec of tensorsOf(config)) for (const source of sourcesOf(spec)) sources.set(source.name, source);

  function sourcesOf(spec: TensorSpec): WeightSource[] {
    const { name, shape } = spec;
    if (!spec.matrix) {
      const values = fill(spec, random);
      return [sourceOf(name, shape, spec.fill === "A" ? values.map((a) => Math.log(-a)) : values)];
    }
    if (!name.includes("*")) return [fromPool(name, shape)];
    return Array.from({ length: config.nExperts }, (_, expert) => fromPool(name.replace("*", String(expert)), shape.slice(1)));
  }

  function fromPool(name: string, shape: readonly number[]): WeightSource {
    const rowBytes = 2 * matrixOf(shape).columns;
    const start = 2 * Math.floor(random() * poolValues);
    const read = async (from: number, to: number) => {
      const out = new Uint8Array((to - from) * rowBytes);
      let at = (start + from * rowBytes) % pool.length;
      for (let done = 0; done < out.length; at = 0) {
        const piece = pool.subarray(at, at + out.length - done);
        out.set(piece, done);
        done += piece.length;
      }
      return out;
    };
    return { name, dtype: "bf16", shape, read };
  }

  const weight = (name: string) => sources.get(name)!;
  const close = async () => undefined;
  return {
    name: `random ${name}`,
    config: json,
    tensors: new Map(
      [...sources.values()].map(({ name, dtype, shape }) => {
        const [stored, each] = dtype === "bf16" ? (["BF16", 2] as const) : (["F32", 4] as const);
        return [name, { name, dtype: stored, shape, file: "random", offset: 0, sizeBytes: each * sizeOf({ shape }) }];
      }),
    ),
    weight,
    async read(name, _, range) {
      const { shape, dtype, read } = weight(name);
      const { rows, columns } = matrixOf(shape);
      const rowBytes = columns * (dtype === "bf16" ? 2 : 4);
      const [from, to] = range ?? [0, rows * rowBytes];
      const first = Math.floor(from / rowBytes);
      const bytes = await read(first, Math.ceil(to / rowBytes));
      return bytes.subarray(from - first * rowBytes, to - first * rowBytes);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
