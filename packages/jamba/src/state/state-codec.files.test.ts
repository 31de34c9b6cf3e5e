// Files of version 1 as they were once written, each with keys and values in another format. Their bytes are kept here, so that what is
// read and written can't drift together.

import type { FloatDtype, StatePart, StateSpec } from "@jamba/core";
import { convertPart, statePartsOf } from "@jamba/core";
import { openBlob } from "@jamba/loader";
import { describe, expect, test } from "vitest";
import { bitsOf, collect } from "../../test/states.ts";
import { decodeState, encodeState } from "./state-codec.ts";

const layers: StateSpec["layers"] = [
  { kind: "mamba", dInner: 2, dState: 2, dConv: 2 },
  { kind: "attention", nKvHeads: 1, headDim: 2 },
];
const header = { model: "model-a", tokenizer: "words-a", meta: { turns: ["hi"] } };
const ids = [5, 6, 7];

/** base64 */
const files: Readonly<Record<FloatDtype, string>> = {
  bf16: "iUpNQg0KGgoBAAAANQEAAEkCAAAAAAAASt5c0IfIpQ5H8LHBzrd1+SULvXa/Rf9snodWBh8EJ8F7Im1vZGVsIjoibW9kZWwtYSIsInRva2VuaXplciI6IndvcmRzLWEiLCJtZXRhIjp7InR1cm5zIjpbImhpIl19LCJzZWVuIjozLCJzZWN0aW9ucyI6W3sibmFtZSI6ImlkcyIsInNoYXBlIjpbM10sImR0eXBlIjoiaTMyIn0seyJuYW1lIjoiMC5jb252Iiwic2hhcGUiOlsyLDFdLCJkdHlwZSI6ImYzMiJ9LHsibmFtZSI6IjAuaCIsInNoYXBlIjpbMiwyXSwiZHR5cGUiOiJmMzIifSx7Im5hbWUiOiIxLmsiLCJzaGFwZSI6WzEsMywyXSwiZHR5cGUiOiJiZjE2In0seyJuYW1lIjoiMS52Iiwic2hhcGUiOlsxLDMsMl0sImR0eXBlIjoiYmYxNiJ9XX27yznWrttYq0dlri5fPrOwJ0eTDY9DnYBuZzY7bOXXLQUAAAAGAAAABwAAAPuid1+ptURPQICFLhKb3xEtc7zg/0S+DfAeqn4Io9tnJUkSPiVJkj9G8ze9ksWS7weJERoyO+aWITFwvAfWirQwQSxrh2tMigAAAICrqqq+q6oqvwAAgL8RqAPTfR1UUa5jLq8eNAYPnipVgVJyL9jO0aYoNG7MeoFxgnGDcYRxhXGGcUkfhk8wj6Hu9kquFVlsjmMEANnDI9GCNPbaqmTIzc7RgfGC8YPxhPGF8Ybx",
  f16: "iUpNQg0KGgoBAAAAMwEAAEcCAAAAAAAA8nDmjQB2CTV2HvLIVcB30awwGiOIdTMAuhj6FJmras97Im1vZGVsIjoibW9kZWwtYSIsInRva2VuaXplciI6IndvcmRzLWEiLCJtZXRhIjp7InR1cm5zIjpbImhpIl19LCJzZWVuIjozLCJzZWN0aW9ucyI6W3sibmFtZSI6ImlkcyIsInNoYXBlIjpbM10sImR0eXBlIjoiaTMyIn0seyJuYW1lIjoiMC5jb252Iiwic2hhcGUiOlsyLDFdLCJkdHlwZSI6ImYzMiJ9LHsibmFtZSI6IjAuaCIsInNoYXBlIjpbMiwyXSwiZHR5cGUiOiJmMzIifSx7Im5hbWUiOiIxLmsiLCJzaGFwZSI6WzEsMywyXSwiZHR5cGUiOiJmMTYifSx7Im5hbWUiOiIxLnYiLCJzaGFwZSI6WzEsMywyXSwiZHR5cGUiOiJmMTYifV19Y0Twf1aK4awsfAxycVBgBk8Zbex71JVMVUR7Sgh0lhkFAAAABgAAAAcAAAAx+q9zky9s5t2xKG/HipLeve4wwFv9M9aC3DY1E8V+LCVJEj4lSZI/qE2qq/sehkYhTmUEWujiPAfKZvRUJ0Q3j/bnviTbfkQAAACAq6qqvquqKr8AAIC/3K0gK8LWYw8BUUMcXrwNN1ku1JV9FN72TrkEQLM1YtEBPAI8AzwEPAU8BjwQTWZZDz+9PWrdC/nq+FBbuv6h6fvCcSuKICClUtCkqgG8ArwDvAS8BbwGvA==",
  f32: "iUpNQg0KGgoBAAAAMwEAAF8CAAAAAAAAX5bK9ZR2Qy3MDyUaWXJpUnPYRs4+zcRovdsjGDaZje57Im1vZGVsIjoibW9kZWwtYSIsInRva2VuaXplciI6IndvcmRzLWEiLCJtZXRhIjp7InR1cm5zIjpbImhpIl19LCJzZWVuIjozLCJzZWN0aW9ucyI6W3sibmFtZSI6ImlkcyIsInNoYXBlIjpbM10sImR0eXBlIjoiaTMyIn0seyJuYW1lIjoiMC5jb252Iiwic2hhcGUiOlsyLDFdLCJkdHlwZSI6ImYzMiJ9LHsibmFtZSI6IjAuaCIsInNoYXBlIjpbMiwyXSwiZHR5cGUiOiJmMzIifSx7Im5hbWUiOiIxLmsiLCJzaGFwZSI6WzEsMywyXSwiZHR5cGUiOiJmMzIifSx7Im5hbWUiOiIxLnYiLCJzaGFwZSI6WzEsMywyXSwiZHR5cGUiOiJmMzIifV19bfJ91rQMhk6SqApk6ybkduhp3LNYr/pg1xtGVkj/wFAFAAAABgAAAAcAAADZE1pDgLqoFd3Z5rjU22IjgbP44BxGLiFTE7hQRZ/NBSVJEj4lSZI/8H7BSZ1fJaBGf/3nUA9LjWHDm/VyElCGCCDvgJYnZOgAAACAq6qqvquqKr8AAIC/h3bcGKI4xIWPEYNHztSg3UIiJiyPFgyYLhXCHOiD/r2rqqo/VVUVQFVVVUCrqopAq6qqQKuqykBQf3M3WTSSmKf50pv3SdiCHD5LuXKgXNs/GpT+P6OMqKuqqr9VVRXAVVVVwKuqisCrqqrAq6rKwA==",
};

/** Of the ith key: no other format holds them all. */
const keyOf: Readonly<Record<FloatDtype, (i: number) => number>> = {
  bf16: (i) => (1 + i * 2 ** -7) * 2 ** 100,
  f16: (i) => 1 + i * 2 ** -10,
  f32: (i) => i + 1 / 3,
};

function stateOf(kvDtype: FloatDtype): StatePart[] {
  const values = {
    conv: (i: number) => i + 1 / 7,
    h: (i: number) => -i / 3,
    k: (i: number) => keyOf[kvDtype](i + 1),
    v: (i: number) => -keyOf[kvDtype](i + 1),
  };
  return statePartsOf({ layers, kvDtype }, ids.length).map((part) => {
    const length = part.shape.reduce((a, b) => a * b);
    const floats = Float32Array.from({ length }, (_, i) => values[part.name](i));
    return convertPart({ ...part, dtype: "f32", bytes: new Uint8Array(floats.buffer) }, part.dtype);
  });
}

describe.each(["bf16", "f16", "f32"] as const)("a file with %s keys and values", (dtype) => {
  const bytes = Buffer.from(files[dtype], "base64");

  test.each(["bf16", "f16", "f32"] as const)("is read for a store of %s as it is", async (kvDtype) => {
    const expected = { model: "model-a", tokenizer: "words-a", vocabSize: 8, spec: { layers, pageTokens: 64, kvDtype } };
    const { parts, ...rest } = await decodeState(openBlob(new Blob([bytes])), expected);
    expect(rest).toEqual({ header, ids });
    expect(await bitsOf(parts)).toEqual(await bitsOf(stateOf(dtype)));
  });

  test("is what the same state is written as, byte for byte", async () => {
    const { chunks } = encodeState(header, ids, { layers, kvDtype: dtype }, stateOf(dtype));
    expect(Buffer.concat(await collect(chunks()))).toEqual(bytes);
  });
});
