// What goes into a state's bytes comes out of them, and nothing comes out of bytes that were changed.
// JAMBA_FUZZ_FILES says how many damaged files are tried (the full count is 100000).

import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { seeded } from "@jamba/conformance";
import { type FloatDtype, floatBytes, JambaError, LoadError, ShapeError, type StatePart, type StateSpec, statePartsOf } from "@jamba/core";
import { type ByteSource, openBlob } from "@jamba/loader";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { bitsOf, collect, randomIds, randomState } from "../../test/states.ts";
import { decodeState, type ExpectedState, encodeState, type StateFileHeader } from "./state-codec.ts";

const rounds = Number(process.env.JAMBA_FUZZ_FILES ?? 5_000);
const vocabSize = 1000;
const random = seeded(20261128);
const below = (n: number) => Math.floor(random() * n);

type Layers = StateSpec["layers"];
const mamba = (dInner: number, dState: number, dConv: number) => ({ kind: "mamba", dInner, dState, dConv }) as const;
const attention = (nKvHeads: number, headDim: number) => ({ kind: "attention", nKvHeads, headDim }) as const;
const small: Layers = [mamba(2, 2, 2), attention(1, 2)];

const expectedFor = (layers: Layers, more: Partial<ExpectedState> = {}): ExpectedState => ({
  model: "model-a",
  vocabSize,
  spec: { layers, pageTokens: 64, kvDtype: "f32" },
  ...more,
});

async function bytesOf(...args: Parameters<typeof encodeState>): Promise<Uint8Array> {
  const { sizeBytes, chunks } = encodeState(...args);
  const bytes = new Uint8Array(Buffer.concat(await collect(chunks())));
  expect(bytes.length).toBe(sizeBytes);
  return bytes;
}

/** Bytes in memory that refuse to be read past their end. */
function memory(bytes: Uint8Array): ByteSource {
  const read = async (offset: number, length: number) => {
    if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length)) throw new RangeError(`${length} bytes at ${offset}`);
    return bytes.slice(offset, offset + length);
  };
  return { name: "a.state", size: bytes.length, read, close: async () => undefined };
}

/** All of it, read to its end. */
async function decoded(bytes: Uint8Array, expected = expectedFor(small)) {
  const { parts, ...rest } = await decodeState(memory(bytes), expected);
  return { ...rest, parts: await collect(parts) };
}

const specOf = (layers: Layers, kvDtype: FloatDtype = "f32") => ({ layers, kvDtype });

async function refusal(bytes: Uint8Array, expected?: ExpectedState): Promise<JambaError> {
  try {
    await decoded(bytes, expected);
  } catch (error) {
    if (error instanceof JambaError) return error;
    throw error;
  }
  throw new Error("it was read");
}

describe("a state comes back bit for bit", () => {
  const layer = fc.oneof(
    fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 })).map((of) => mamba(...of)),
    fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 9 })).map((of) => attention(...of)),
  );
  const meta = fc.jsonValue();

  test("of any layers, tokens, dtypes of keys and values, with whatever a session keeps beside it", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(layer, { maxLength: 5 }),
        fc.nat(70),
        fc.constantFrom<FloatDtype>("f32", "bf16", "f16"),
        fc.option(fc.string(), { nil: undefined }),
        meta,
        async (layers, seen, kvDtype, tokenizer, meta) => {
          const [ids, state] = [randomIds(random, seen, vocabSize), randomState(random, layers, seen, kvDtype)];
          const bytes = await bytesOf({ model: "model-a", tokenizer, meta }, ids, specOf(layers, kvDtype), state);
          const found = await decoded(bytes, expectedFor(layers, { tokenizer }));
          expect(found.header).toEqual({ model: "model-a", tokenizer, meta: JSON.parse(JSON.stringify(meta)) });
          expect(found.ids).toEqual(ids);
          expect(await bitsOf(found.parts)).toEqual(await bitsOf(state));
        },
      ),
    );
  });

  test.each(["f32", "bf16", "f16"] as const)("of any %s numbers, also those that are none, tiny, or negative zero", async (kvDtype) => {
    const layers = [attention(1, 2)];
    const bytes = fc.uint8Array({ minLength: 6 * floatBytes[kvDtype], maxLength: 6 * floatBytes[kvDtype] });
    await fc.assert(
      fc.asyncProperty(bytes, bytes, async (k, v) => {
        const state = statePartsOf({ layers, kvDtype }, 3).map((part) => ({ ...part, bytes: part.name === "k" ? k : v }));
        const found = await decoded(await bytesOf({ model: "model-a" }, [1, 2, 3], specOf(layers, kvDtype), state), expectedFor(layers));
        expect(await bitsOf(found.parts)).toEqual(await bitsOf(state));
      }),
    );
  });

  test.each(["f32", "bf16", "f16"] as const)("and costs what its %s keys and values cost, whatever they are", async (kvDtype) => {
    const [layers, seen] = [[attention(2, 16)], 2 ** 11];
    const nBytes = 2 ** 16 * floatBytes[kvDtype];
    const state = statePartsOf({ layers, kvDtype }, seen).map((part) => ({ ...part, bytes: new Uint8Array(nBytes) }));
    const { sizeBytes } = encodeState({ model: "model-a" }, randomIds(random, seen, vocabSize), specOf(layers, kvDtype), state);
    const values = 2 * nBytes + 4 * seen;
    expect(sizeBytes).toBeGreaterThan(values);
    expect(sizeBytes).toBeLessThan(values + 600);
  });

  test("from a blob, as browsers have it", async () => {
    const [ids, state] = [[5, 6, 7], randomState(random, small, 3)];
    const { chunks } = encodeState({ model: "model-a" }, ids, specOf(small), state);
    const found = await decodeState(openBlob(new Blob(await collect(chunks()))), expectedFor(small));
    expect(await bitsOf(found.parts)).toEqual(await bitsOf(state));
  });

  test("for a model that keeps keys and values in another dtype, or in pages of another size", async () => {
    const state = randomState(random, small, 3);
    const spec: StateSpec = { layers: small, pageTokens: 7, kvDtype: "bf16" };
    const found = await decoded(await bytesOf({ model: "model-a" }, [5, 6, 7], specOf(small), state), expectedFor(small, { spec }));
    expect(await bitsOf(found.parts)).toEqual(await bitsOf(state));
  });
});

describe("no more than one part is in memory at a time", () => {
  const layers = Array.from({ length: 8 }, () => attention(1, 3 * 2 ** 9));
  const [seen, nBytes] = [2 ** 10, 3 * 2 ** 19 * 4]; // pieces of 4 MiB and of 2 MiB
  const ids = randomIds(random, seen, vocabSize);
  setFlagsFromString("--expose-gc");
  const collectGarbage = runInNewContext("gc") as () => void;

  /** Parts that are made when they are asked for, and how many of them were still held then. */
  function tracked() {
    const made: WeakRef<Uint8Array>[] = [];
    const held: number[] = [];
    const live = async () => {
      await nextTurn(); // a WeakRef holds what it was made with until the end of the turn
      collectGarbage();
      return made.filter((one) => one.deref()).length;
    };
    const makeOne = () => {
      const bytes = new Uint8Array(nBytes);
      made.push(new WeakRef(bytes));
      return bytes;
    };
    async function* parts() {
      for (const part of statePartsOf(specOf(layers), seen)) {
        held.push(await live());
        yield { ...part, bytes: makeOne() };
      }
    }
    return { parts, held, made, live };
  }

  test("when it is written", async () => {
    const { parts, held } = tracked();
    let sizeBytes = 0;
    const encoded = encodeState({ model: "model-a" }, ids, specOf(layers), parts());
    expect(held).toEqual([]);
    for await (const chunk of encoded.chunks()) sizeBytes += chunk.length;
    expect(sizeBytes).toBe(encoded.sizeBytes);
    expect(held).toEqual(Array(16).fill(0));
  });

  test("when it is read", async () => {
    const source = memory(await bytesOf({ model: "model-a" }, ids, specOf(layers), tracked().parts()));
    const { made, held, live } = tracked();
    const read = async (...args: Parameters<ByteSource["read"]>) => {
      if (args[1] > 2 ** 21 + 32) held.push(await live()); // a part's first piece
      expect(args[1]).toBeLessThanOrEqual(2 ** 22 + 32);
      return source.read(...args);
    };
    const { parts } = await decodeState({ ...source, read }, expectedFor(layers));
    expect(held).toEqual([]);
    /** Lets go of the part when it returns. */
    const takeOne = async () => {
      const { value } = await parts.next();
      if (value) made.push(new WeakRef(value.bytes));
      return value !== undefined;
    };
    while (await takeOne());
    expect(held).toEqual(Array(16).fill(0));
  });
});

describe("every damaged file is refused with its reason", () => {
  let valid: Uint8Array;
  let other: Uint8Array;
  beforeAll(async () => {
    const header: StateFileHeader = { model: "model-a", meta: { messages: [{ role: "user", content: "hi" }] } };
    valid = await bytesOf(header, [5, 6, 7], specOf(small, "bf16"), randomState(random, small, 3, "bf16"));
    other = await bytesOf(header, [5, 6, 8], specOf(small, "bf16"), randomState(random, small, 3, "bf16"));
    await decoded(valid);
    await decoded(other);
  });

  const refusedAll = async (files: Iterable<Uint8Array>) => {
    let count = 0;
    for (const file of files) {
      const error = await refusal(file);
      if (error.code !== "LOAD" || !/^a\.state: .*expected .*, found /.test(error.message)) throw error;
      count++;
    }
    return count;
  };
  function* flips() {
    const each = Math.min(255, Math.max(1, Math.ceil((0.6 * rounds) / valid.length)));
    for (let at = 0; at < valid.length; at++)
      for (let n = 0; n < each; n++) {
        const file = valid.slice();
        file[at] ^= each === 255 ? n + 1 : 1 + below(255);
        yield file;
      }
  }
  function* cuts() {
    for (let length = 0; length < valid.length; length++) yield valid.slice(0, length);
    for (let tail = 1; tail < 100; tail++) yield new Uint8Array(Buffer.concat([valid, new Uint8Array(tail)]));
  }
  const same = (file: Uint8Array) => Buffer.compare(file, valid) === 0 || Buffer.compare(file, other) === 0;
  function* changes() {
    for (let n = 0; n < 0.41 * rounds; n++) {
      const file = valid.slice();
      const [at, from, length] = [below(file.length), below(file.length), 1 + below(64)];
      const kinds = [
        () => file.fill(below(256), at, at + length),
        () => file.set(file.slice(from, from + Math.min(length, file.length - at)), at),
        // Every piece of the other file is whole in itself.
        () => file.set(other.subarray(at, at + below(file.length)), at),
        () => new DataView(file.buffer).setUint32(Math.min(at, file.length - 4), random() * 2 ** 32, true),
        () =>
          file.set(
            Uint8Array.from({ length: Math.min(length, file.length - at) }, () => below(256)),
            at,
          ),
      ];
      kinds[n % kinds.length]();
      if (!same(file)) yield file;
    }
  }

  test("every byte flipped", async () => {
    expect(await refusedAll(flips())).toBeGreaterThanOrEqual(valid.length);
  });

  test("every length cut, and tails", async () => {
    expect(await refusedAll(cuts())).toBe(valid.length + 99);
  });

  test("bytes filled, moved, exchanged with another file's, and replaced", async () => {
    expect(await refusedAll(changes())).toBeGreaterThan(0.3 * rounds);
  });

  test("whole pieces that changed places, in parts of many pieces", async () => {
    const pieceBytes = 2 ** 22;
    const layers = [mamba(3 * 2 ** 16, 16, 1)];
    const state = statePartsOf(specOf(layers), 0).map((part) => ({
      ...part,
      bytes: new Uint8Array(part.name === "h" ? 3 * pieceBytes : 0),
    }));
    for (let piece = 0; piece < 3; piece++) state[1].bytes.fill(piece + 1, piece * pieceBytes, (piece + 1) * pieceBytes);
    const bytes = await bytesOf({ model: "model-a" }, [], specOf(layers), state);
    expect(await bitsOf((await decoded(bytes, expectedFor(layers))).parts)).toEqual(await bitsOf(state));
    const [one, two] = [-2, -1].map((piece) => bytes.length + piece * (pieceBytes + 32));
    const swapped = bytes.slice();
    swapped.set(bytes.subarray(two), one);
    swapped.set(bytes.subarray(one, two), two);
    const error = await refusal(swapped, expectedFor(layers));
    expect(error.message).toMatch(/^a\.state: 0\.h: expected a piece with SHA-256 [\da-f]{64}, found [\da-f]{64}; .*damaged/);
  });

  /** A file whose hashes are right: what its header says is the writer's. */
  function forged(json: unknown, change: (view: DataView) => void = () => undefined): Uint8Array {
    const text = Buffer.isBuffer(json) ? json : Buffer.from(JSON.stringify(json) ?? "");
    const rest = valid.subarray(56 + new DataView(valid.buffer).getUint32(12, true));
    const file = new Uint8Array(Buffer.concat([valid.subarray(0, 56), text, rest]));
    const view = new DataView(file.buffer);
    view.setUint32(12, text.length, true);
    view.setBigUint64(16, BigInt(file.length), true);
    change(view);
    file.set(createHash("sha256").update(file.subarray(0, 24)).update(text).digest(), 24);
    return file;
  }
  const headerOf = () => JSON.parse(Buffer.from(valid.subarray(56, 56 + new DataView(valid.buffer).getUint32(12, true))).toString());

  test("headers with right hashes that lie about the rest, before anything is allocated for them", async () => {
    const { seen, sections, ...rest } = headerOf();
    const withSection = (i: number, more: object | null) => ({
      ...rest,
      seen,
      sections: sections.map((one: object, at: number) => (at === i ? more && { ...one, ...more } : one)),
    });
    const grown = (seen: number) => ({
      ...rest,
      seen,
      sections: sections.map((one: { shape: number[] }) => ({ ...one, shape: one.shape.map((n) => (n === 3 ? seen : n)) })),
    });
    const headers = [
      ...[null, 3, "x", [], {}, { ...rest, sections }, { ...rest, seen }, { ...rest, seen, sections: {} }, { ...rest, seen, sections: [] }],
      ...[{ ...headerOf(), model: 7 }, { ...headerOf(), tokenizer: 7 }, Buffer.from("{"), Buffer.from([0x22, 0xff, 0x22])],
      ...[-1, 1.5, "3", null, 2 ** 53].map((seen) => ({ ...rest, seen, sections })),
      ...[0, 2, 4, 2 ** 20, 2 ** 31, 2 ** 40, 2 ** 53 - 1].map(grown),
      ...[null, { shape: "3" }, { shape: [[3]] }, { shape: [4] }, { dtype: "f32" }, { dtype: null }, { name: "x" }].map((more) =>
        withSection(0, more),
      ),
      ...[{ dtype: "f32" }, { dtype: "i32" }, { dtype: "f16 " }, { shape: [1, 2, 3] }, { name: "0.k" }].map((more) => withSection(3, more)),
      ...[{ dtype: "bf16" }, { shape: [2, 2] }].map((more) => withSection(1, more)),
    ];
    expect(forged(headerOf())).toEqual(valid);
    for (const header of headers) expect((await refusal(forged(header))).code).toBe("LOAD");
    expect(await refusal(forged({ ...headerOf(), sections: 1 }))).toMatchObject({ message: expect.stringMatching(/seen and sections/) });
  });

  test("another kind of file, and a later version", async () => {
    const found = async (file: Uint8Array) => (await refusal(file)).message;
    expect(await found(new TextEncoder().encode("GGUF".repeat(99)))).toMatch(/expected a saved state, found another kind .*47475546/);
    expect(await found(new Uint8Array(500))).toMatch(/another kind of file/);
    expect(await found(new Uint8Array())).toMatch(/at least 56 bytes, found 0/);
    expect(await found(forged(headerOf(), (view) => view.setUint32(8, 3, true)))).toMatch(/expected version 1 or 2 .*, found 3; update/);
    expect(await found(forged(headerOf(), (view) => view.setUint32(12, 2 ** 25, true)))).toMatch(/header of at most/);
  });

  test("token ids that the model does not have", async () => {
    const file = await bytesOf({ model: "model-a" }, [5, vocabSize, 7], specOf(small), randomState(random, small, 3));
    expect(await refusal(file)).toMatchObject({ code: "LOAD", message: expect.stringMatching(/ids in \[0, 1000\), found 1000/) });
  });
});

describe("a whole file is refused", () => {
  const state = randomState(random, small, 3);
  const write = (header: StateFileHeader) => bytesOf(header, [5, 6, 7], specOf(small), state);

  test("for another model or tokenizer, saying which", async () => {
    const file = await write({ model: "model-b", tokenizer: "words-b" });
    expect(await refusal(file)).toMatchObject({
      code: "SESSION_MISMATCH",
      message: 'a.state: expected a state of the model "model-a", found one of "model-b"; open it with the model it was saved from',
    });
    expect(await refusal(file, expectedFor(small, { model: "model-b", tokenizer: "words-a" }))).toMatchObject({
      code: "SESSION_MISMATCH",
      message: expect.stringMatching(/the tokenizer "words-a", found one of "words-b"/),
    });
    await decoded(file, expectedFor(small, { model: "model-b" }));
    await decoded(await write({ model: "model-a" }), expectedFor(small, { tokenizer: "words-a" }));
  });

  test("for other layers, though it names the same model", async () => {
    const file = await write({ model: "model-a" });
    const layers: Layers[] = [[mamba(2, 2, 2)], [attention(1, 2), mamba(2, 2, 2)], [mamba(2, 3, 2), attention(1, 2)], []];
    for (const other of layers) expect(await refusal(file, expectedFor(other))).toBeInstanceOf(LoadError);
  });
});

describe("what can't be written", () => {
  const state = randomState(random, small, 3);
  const [conv, h, k, v] = state;
  const write = (parts: readonly StatePart[]) => bytesOf({ model: "model-a" }, [5, 6, 7], specOf(small), parts);

  test.each([
    ["ids that are none", [5, -1, 7]],
    ["ids with a fraction", [5, 1.5, 7]],
    ["ids beyond 31 bits", [5, 2 ** 31, 7]],
  ])("%s", (_, ids) => {
    expect(() => encodeState({ model: "model-a" }, ids, specOf(small), state)).toThrow(ShapeError);
  });

  test.each([
    ["none", [], /0\.conv \[2, 1\] as f32, found no more/],
    ["too few", [conv, h, k], /1\.v .*, found no more parts/],
    ["too many", [...state, v], /expected no more parts, found 1\.v/],
    ["in another order", [h, conv, k, v], /0\.conv .*, found 0\.h/],
    ["of other tokens", randomState(random, small, 2), /1\.k \[1, 3, 2\].*, found 1\.k \[1, 2, 2\]/],
    ["in another format", randomState(random, small, 3, "f16"), /as f32 in 24 bytes, found 1\.k \[1, 3, 2\] as f16 in 12 bytes/],
    ["cut", [conv, { ...h, bytes: h.bytes.subarray(1) }, k, v], /in 16 bytes, found 0\.h .* in 15 bytes/],
  ])("parts that are not those of the state: %s", async (_, parts, message) => {
    const error = await write(parts).catch((error) => error);
    expect(error).toBeInstanceOf(ShapeError);
    expect(error.message).toMatch(message);
  });

  test("a header that is no JSON, or longer than what is read again", () => {
    for (const meta of [1n, "x".repeat(2 ** 24)])
      expect(() => encodeState({ model: "model-a", meta }, [5, 6, 7], specOf(small), state)).toThrow(
        expect.objectContaining({ code: "OPTION" }),
      );
  });
});
