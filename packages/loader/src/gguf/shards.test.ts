import { LoadError } from "@jamba/core";
import { describe, expect, it } from "vitest";
import { ggufFile, memorySource, value } from "../../test/gguf-builder.ts";
import { type GgufHeader, parseGgufHeader } from "./header.ts";
import { ggufShards, joinGgufHeaders } from "./shards.ts";

describe("names of shards", () => {
  it("come from any one of them", () => {
    const all = ["a-00001-of-00003.gguf", "a-00002-of-00003.gguf", "a-00003-of-00003.gguf"];
    for (const file of all) expect(ggufShards(file)).toEqual(all);
    expect(ggufShards("x-00001-of-00001.gguf")).toEqual(["x-00001-of-00001.gguf"]);
    expect(ggufShards("dir/a-00012-of-00012.gguf")?.at(-1)).toBe("dir/a-00012-of-00012.gguf");
  });

  it.each([
    "model.gguf",
    "a-00000-of-00003.gguf",
    "a-00004-of-00003.gguf",
    "a-1-of-3.gguf",
    "a-00001-of-00003.safetensors",
    "a-00001-of-00003.gguf.part",
  ])("%s has none", (file) => {
    expect(ggufShards(file)).toBeUndefined();
  });
});

describe("joined headers", () => {
  const shard = async (
    no: number,
    names: string[],
    { count = 3, total = 4, file = `m${no}.gguf`, architecture = no === 0 ? "jamba" : "" } = {},
  ) => {
    const tensors = names.map((name) => ({ name, type: 0, ne: [8], data: new Uint8Array(32) }));
    const entries = {
      ...(architecture && { "general.architecture": value("text", architecture) }),
      "split.no": value("u16", no),
      "split.count": value("u16", count),
      "split.tensors.count": value("i32", total),
    };
    return parseGgufHeader(memorySource(ggufFile({ entries, tensors }), `models/${file}`));
  };
  const refused = (headers: readonly GgufHeader[], message: RegExp) => {
    expect(() => joinGgufHeaders(headers)).toThrow(LoadError);
    expect(() => joinGgufHeaders(headers)).toThrow(message);
  };
  // The first may hold metadata alone.
  const all = async () => [await shard(0, []), await shard(1, ["a", "b"]), await shard(2, ["c", "d"])];

  it("have all tensors, each with its file, and the first one's metadata", async () => {
    const headers = await all();
    const { metadata, tensors } = joinGgufHeaders(headers);
    expect(metadata.get("general.architecture")).toBe("jamba");
    expect([...tensors.values()].map(({ name, file }) => [name, file])).toEqual([
      ["a", "m1.gguf"],
      ["b", "m1.gguf"],
      ["c", "m2.gguf"],
      ["d", "m2.gguf"],
    ]);
    expect(tensors.get("c")).toEqual(headers[2].tensors.get("c"));
  });

  it("of one file without split keys are that file's", async () => {
    const header = await parseGgufHeader(memorySource(ggufFile({ tensors: [{ name: "a", type: 0, ne: [1], data: new Uint8Array(4) }] })));
    expect(joinGgufHeaders([header])).toEqual(header);
  });

  it("are refused when a file is missing, twice, in another's place or of another model", async () => {
    const [a, b, c] = await all();
    refused([a, b], /m0\.gguf: metadata split\.count: expected 2, found 3; pass all files/);
    refused([b], /m1\.gguf: metadata split\.count: expected 1, found 3/);
    refused([a, c, b], /m2\.gguf: metadata split\.no: expected 1, found 2/);
    refused([a, b, b], /expected 2, found 1/);
    refused([a, b, await shard(2, ["c"])], /split\.tensors\.count: expected 3, found 4; is the download complete/);
    refused([a, b, await shard(2, ["c", "b"])], /m2\.gguf: tensor "b": expected it once, found it in m1\.gguf too/);
    refused([a, b, await shard(2, ["c", "d"], { count: 4 })], /m2\.gguf: metadata split\.count: expected 3, found 4/);
    refused([a, b, await shard(2, ["c", "d"], { architecture: "llama" })], /general\.architecture: expected jamba, found llama/);
    refused([a, { ...b, metadata: new Map() }, c], /m1\.gguf: metadata split\.count: expected 3, found none/);
  });
});
