// Whatever a server answers: a result or a typed error, in bounded time, and nothing outside the cache.

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JambaError } from "@jamba/core";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { etagOf, gitHash } from "../../../../tooling/hub/hub-server.ts";
import { downloadIn } from "./download.ts";

const commit = "c".repeat(40);
const info = JSON.stringify({ id: "owner/model", sha: commit });
const index = JSON.stringify({ weight_map: { a: "a.safetensors", b: "b.safetensors" } });
const bytesOf = (text: string) => new TextEncoder().encode(text);
const file = (path: string, content = "{}") => ({ type: "file", path, size: bytesOf(content).length, oid: gitHash(bytesOf(content)) });
const lfs = (path: string) => ({ ...file(path), lfs: { oid: etagOf({ bytes: bytesOf("{}"), lfs: true }), size: 2 } });
/** Of a repository whose index is this one, with its right hash. */
const treeWith = (content: string, ...more: object[]) =>
  JSON.stringify([file("config.json"), lfs("a.safetensors"), lfs("b.safetensors"), file("model.safetensors.index.json", content), ...more]);
const tree = treeWith(index);

let parent: string;
let cacheDir: string;
beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), "jamba-hub-"));
  cacheDir = join(parent, "cache");
});
afterAll(() => rm(parent, { recursive: true }));

/** A server that answers with these texts, without a socket. */
function serve(answers: { info?: string; tree?: string; index?: string; link?: string }) {
  let requests = 0;
  const fetch = async (input: unknown) => {
    if (++requests > 2000) throw new Error("expected an end of the requests");
    const { pathname } = new URL(String(input));
    if (pathname.includes("/revision/")) return new Response(answers.info ?? info);
    if (pathname.includes("/tree/")) return new Response(answers.tree ?? tree, { headers: answers.link ? { link: answers.link } : {} });
    return new Response(pathname.endsWith("index.json") ? (answers.index ?? index) : "{}");
  };
  return downloadIn({ fetch: fetch as typeof globalThis.fetch, env: {}, wait: async () => undefined }, "owner/model", {
    cacheDir,
    endpoint: "http://hub.test",
  });
}

async function outcome(answers: Parameters<typeof serve>[0]): Promise<string> {
  const found = await serve(answers).then(
    ({ files }) => `files: ${files.join()}`,
    (error) => {
      if (!(error instanceof JambaError)) throw error;
      return error.message;
    },
  );
  expect((await readdir(parent)).filter((name) => name !== "cache")).toEqual([]);
  return found;
}

/** One character or one stretch of a text made different. */
const mutated = (text: string) =>
  fc
    .record({
      at: fc.nat(text.length - 1),
      length: fc.nat(12),
      by: fc.oneof(
        fc.string({ maxLength: 6 }),
        fc.constantFrom(
          "null",
          "[]",
          "{}",
          "-1",
          "1e400",
          '"',
          "\\u0000",
          "../",
          "..\\\\",
          "true",
          "9007199254740993",
          '"x"',
          "[[[[",
          "__proto__",
          ",",
        ),
      ),
    })
    .map(({ at, length, by }) => text.slice(0, at) + by + text.slice(at + length));

it("12 000 mutated answers give files or a typed error", async () => {
  const seen = new Map<string, number>();
  const arbitrary = fc.oneof(
    { weight: 2, arbitrary: mutated(info).map((info) => ({ info })) },
    { weight: 4, arbitrary: mutated(tree).map((tree) => ({ tree })) },
    mutated(index).map((index) => ({ index, tree: treeWith(index) })),
    fc.jsonValue({ maxDepth: 4 }).map((value) => ({ tree: JSON.stringify(value) })),
    fc.jsonValue({ maxDepth: 4 }).map((value) => ({ info: JSON.stringify(value) })),
    fc
      .array(
        fc.record(
          {
            type: fc.constantFrom("file", "directory", 1),
            path: fc.oneof(fc.string(), fc.constantFrom("config.json", "m.gguf", "../m.gguf")),
            size: fc.oneof(fc.integer(), fc.double()),
            oid: fc.oneof(fc.string(), fc.constant(commit)),
          },
          { requiredKeys: [] },
        ),
      )
      .map((entries) => ({ tree: JSON.stringify(entries) })),
  );
  await fc.assert(
    fc.asyncProperty(arbitrary, async (answers) => {
      const found = (await outcome(answers)).startsWith("files: ") ? "files" : "error";
      seen.set(found, (seen.get(found) ?? 0) + 1);
    }),
    { numRuns: 12_000 },
  );
  // Both happen often, or nothing was tested.
  expect(seen.get("error")).toBeGreaterThan(1000);
  expect(seen.get("files")).toBeGreaterThan(100);
}, 300_000);

it.each([
  ["../../x.gguf"],
  ["/etc/x.gguf"],
  ["a/../../x.gguf"],
  ["a\\..\\x.gguf"],
  ["x\0.gguf"],
  ["C:x.gguf"],
  ["a//x.gguf"],
  ["./x.gguf"],
  [`${"x".repeat(300)}.gguf`],
  ["a\n.gguf"],
])("a file named %j is not written anywhere", async (path) => {
  expect(await outcome({ tree: JSON.stringify([lfs(path)]) })).toMatch(
    /expected names of files below the repository, found .*not written anywhere/,
  );
});

it.each([
  ["../a.safetensors"],
  ["/a.safetensors"],
  ["b/a.safetensors"],
  ["a\\b.safetensors"],
  ["a\0.safetensors"],
  ["pytorch_model.bin"],
  [7],
  [null],
])("an index that names %j is refused", async (shard) => {
  const index = JSON.stringify({ weight_map: { a: shard } });
  const found = await outcome({ index, tree: treeWith(index, lfs(String(shard))) });
  expect(found).toMatch(/expected the name of a \.safetensors file in the same directory/);
});

it("pages without end, and pages that lead elsewhere, end", async () => {
  const empty = JSON.stringify([]);
  expect(await outcome({ tree: empty, link: '<http://hub.test/api/models/owner/model/tree/x?p=1>; rel="next"' })).toMatch(
    /at most 1000 pages/,
  );
  expect(await outcome({ tree: empty, link: '<file:///etc/passwd>; rel="next"' })).toMatch(/URL of the next page, found "file:/);
  expect(await outcome({ tree: empty, link: '<http://[>; rel="next"' })).toMatch(/URL of the next page/);
});

it("an answer of 40 MB is not read to its end", async () => {
  expect(await outcome({ tree: `[${" ".repeat(40_000_000)}]` })).toMatch(/expected at most 33554432 bytes of JSON/);
});
