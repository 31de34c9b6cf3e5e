import { DtypeError, LoadError } from "@jamba/core";
import { expect, it } from "vitest";
import { openCheckpoint } from "../checkpoint.ts";
import { writeSafetensors } from "./header.ts";

const valid = writeSafetensors(
  [
    { name: "model.embed_tokens.weight", dtype: "BF16", shape: [4, 3], bytes: new Uint8Array(24) },
    { name: "model.layers.0.mamba.A_log", dtype: "F32", shape: [2, 2], bytes: new Uint8Array(16) },
    { name: "ids", dtype: "I64", shape: [2], bytes: new Uint8Array(16) },
    { name: "empty", dtype: "F16", shape: [0, 2], bytes: new Uint8Array() },
  ],
  { format: "pt" },
);
const headerLength = Number(new DataView(valid.buffer).getBigUint64(0, true));
const header = valid.subarray(8, 8 + headerLength);
const data = valid.subarray(8 + headerLength);

let state = 1;
/** mulberry32: an integer in [0, n). */
function random(n: number): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % n;
}
const pick = <T>(list: readonly T[]): T => list[random(list.length)];

function join(json: Uint8Array, rest = data): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8 + json.length + rest.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(rest, 8 + json.length);
  return bytes;
}

const splice = (at: number, deleted: number, inserted: ArrayLike<number> = []) =>
  Uint8Array.from([...header.subarray(0, at), ...Array.from(inserted), ...header.subarray(at + deleted)]);

const hostileValues = [
  null,
  true,
  -1,
  0,
  1,
  1.5,
  1e21,
  2 ** 53,
  2 ** 53 - 1,
  "",
  "F32",
  "F16",
  "I64",
  "F8_E4M3",
  "F4",
  "__proto__",
  [],
  [0, 0],
  [0, 24],
  [2 ** 40, 2 ** 40],
  [[]],
  {},
];

function mutateStructure(): Uint8Array<ArrayBuffer> {
  const json = JSON.parse(new TextDecoder().decode(header));
  for (let times = 1 + random(2); times > 0; times--) {
    let parent = json;
    let key = pick(Object.keys(parent));
    while (typeof parent[key] === "object" && parent[key] !== null && Object.keys(parent[key]).length > 0 && random(4) > 0) {
      parent = parent[key];
      key = pick(Object.keys(parent));
    }
    if (random(4) === 0) delete parent[key];
    else parent[key] = structuredClone(pick(hostileValues));
    if (Object.keys(json).length === 0) break;
  }
  const text = JSON.stringify(json);
  return join(new TextEncoder().encode(random(8) === 0 ? text.replace("{", `{${text.slice(1, -1)},`) : text));
}

const mutations: Record<string, () => Uint8Array<ArrayBuffer>> = {
  "flipped bits": () => {
    const bytes = header.slice();
    for (let times = 1 + random(3); times > 0; times--) bytes[random(bytes.length)] ^= 1 << random(8);
    return join(bytes);
  },
  "replaced digits": () => {
    const digits = [...header.keys()].filter((i) => header[i] >= 0x30 && header[i] <= 0x39);
    const bytes = header.slice();
    bytes[pick(digits)] = 0x30 + random(10);
    return join(bytes);
  },
  "inserted bytes": () =>
    join(
      splice(
        random(header.length),
        0,
        Uint8Array.from({ length: 1 + random(8) }, () => random(256)),
      ),
    ),
  "deleted spans": () => join(splice(random(header.length), 1 + random(40))),
  "repeated spans": () => {
    const from = random(header.length);
    return join(splice(random(header.length), 0, header.subarray(from, from + 1 + random(80))));
  },
  "changed lengths": () => {
    const bytes = valid.slice();
    const lengths = [random(valid.length + 4), headerLength + random(9) - 4, 2 ** random(53)];
    new DataView(bytes.buffer).setBigUint64(0, BigInt(pick(lengths)), true);
    if (random(3) === 0) bytes[random(8)] ^= 1 << random(8);
    return bytes;
  },
  "cut or longer files": () => (random(2) ? valid.slice(0, random(valid.length)) : join(header, new Uint8Array(random(100)))),
  "another structure": mutateStructure,
};

const typed = (error: unknown) => {
  if (!(error instanceof LoadError || error instanceof DtypeError)) throw error;
};

async function openAndReadAll(bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
  const files = [
    { name: "config.json", blob: new Blob(["{}"]) },
    { name: "model.safetensors", blob: new Blob([bytes]) },
  ];
  const checkpoint = await openCheckpoint(files).catch(typed);
  if (!checkpoint) return false;
  for (const { name, sizeBytes, shape } of checkpoint.tensors.values()) {
    expect((await checkpoint.read(name)).length).toBe(sizeBytes);
    try {
      const weight = checkpoint.weight(name);
      const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
      expect((await weight.read(0, rows)).length).toBe(sizeBytes);
    } catch (error) {
      typed(error);
    }
  }
  return true;
}

it.each(Object.entries(mutations))("1500 headers with %s are read or refused with a typed error", async (_, mutate) => {
  state = 20261124;
  for (let i = 0; i < 1500; i++) await openAndReadAll(mutate());
});

it("the file that was mutated is valid", async () => {
  expect(await openAndReadAll(valid.slice())).toBe(true);
});
