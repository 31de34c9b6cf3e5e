import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
// @ts-expect-error plain JavaScript, so that it runs without a build
import { checkDeps } from "./deps.mjs";

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

/** A repository of one package with one source file. */
function plant(name: string, folder: string, source: string, dependencies: Record<string, string> = {}, file = "src/a.ts"): string {
  const root = mkdtempSync(join(tmpdir(), "deps-"));
  roots.push(root);
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  write("package.json", JSON.stringify({ devDependencies: { vitest: "1" } }));
  write(`${folder}/package.json`, JSON.stringify({ name, dependencies }));
  write(`${folder}/${file}`, source);
  return root;
}

const ours = { "@jamba/core": "workspace:*", "@jamba/loader": "workspace:*", "@jamba/backend-cpu": "workspace:*" };

test("this repository has no violation", () => {
  expect(checkDeps(fileURLToPath(new URL("../../", import.meta.url)))).toEqual([]);
});

test.each([
  ["an arrow that is not drawn", "@jamba/ssm", "packages/ssm", 'import { x } from "@jamba/loader";', ours, /@jamba\/ssm → @jamba\/loader/],
  [
    "the same for types",
    "@jamba/ssm",
    "packages/ssm",
    '\nimport type { x } from "@jamba/loader";',
    ours,
    /a\.ts:2: @jamba\/ssm → @jamba\/loader/,
  ],
  ["a re-export of the same", "@jamba/ssm", "packages/ssm", 'export { x } from "@jamba/loader";', ours, /→ @jamba\/loader/],
  ["a backend outside its door", "jamba", "packages/jamba", 'await import("@jamba/backend-cpu");', ours, /→ @jamba\/backend-cpu/],
  ["a deep import", "@jamba/ssm", "packages/ssm", 'import { x } from "@jamba/core/src/a.ts";', ours, /deep import/],
  ["a path into another package", "@jamba/ssm", "packages/ssm", 'import { x } from "../../core/src/a.ts";', ours, /same package/],
  ["an undeclared dependency", "@jamba/ssm", "packages/ssm", 'import { x } from "left-pad";', {}, /left-pad: expected a dependency/],
  [
    "a dependency without a reason",
    "@jamba/ssm",
    "packages/ssm",
    "",
    { "left-pad": "1" },
    /package\.json:1: .*left-pad: expected one with a reason/,
  ],
  ["node: in a package for browsers", "@jamba/core", "packages/core", 'import fs from "node:fs";', {}, /node:fs/],
  ["a name of node without node:", "@jamba/core", "packages/core", 'await import("fs");', {}, /expected node:fs/],
  ["import() of what only a run can tell", "@jamba/core", "packages/core", "await import(name);", {}, /expected a literal/],
  ["an arrow inside a type", "@jamba/ssm", "packages/ssm", 'type X = import("@jamba/loader").X;', ours, /→ @jamba\/loader/],
  ["a static backend in its door", "jamba", "packages/jamba", 'import "@jamba/backend-cpu";', ours, /→ @jamba/, "src/load/open-backend.ts"],
  ["a test against the arrows", "@jamba/ssm", "packages/ssm", 'import "@jamba/loader";', ours, /→ @jamba/, "src/a.test.ts"],
  ["a test of another package", "@jamba/ssm", "packages/ssm", 'import "../../core/src/a.ts";', {}, /same package/, "src/a.test.ts"],
  ["an import cycle", "@jamba/ssm", "packages/ssm", 'export { a } from "./a.ts";', {}, /a\.ts → packages\/ssm\/src\/a\.ts/],
  [
    "a room that imports one above it",
    "@jamba/loader",
    "packages/loader",
    'import "../safetensors/header.ts"; import "../hub/client.ts";',
    {},
    /client\.ts: expected a file of source, model, safetensors, gguf,/,
    "src/gguf/a.ts",
  ],
  [
    "the same for types",
    "@jamba/loader",
    "packages/loader",
    'import type { x } from "../gguf/header.ts";',
    {},
    /header\.ts: expected a file of source,/,
    "src/source/a.ts",
  ],
  [
    "a room that imports what puts the rooms together",
    "@jamba/loader",
    "packages/loader",
    'import "../checkpoint.ts";',
    {},
    /checkpoint\.ts: expected/,
    "src/hub/a.ts",
  ],
  ["a room that has no place", "@jamba/loader", "packages/loader", 'import "./b.ts";', {}, /expected a room of/, "src/attic/a.ts"],
  ["export *", "@jamba/core", "packages/core", 'export * from "./b.ts";', {}, /named exports/],
  ["a default export", "@jamba/core", "packages/core", "export default 1;", {}, /named exports/],
  [
    "a default export by another name",
    "@jamba/core",
    "packages/core",
    "const a = 1;\nexport { a as default };",
    {},
    /a\.ts:2: .*named exports/,
  ],
] as [string, string, string, string, Record<string, string>, RegExp, string?][])(
  "%s is found",
  (_, name, folder, source, dependencies, message, file) => {
    const problems: string[] = checkDeps(plant(name, folder, source, dependencies, file));
    expect(problems).toEqual([expect.stringMatching(message)]);
  },
);

test.each([
  ["the backend door", "jamba", "packages/jamba", 'await import("@jamba/backend-cpu");', ours, "src/load/open-backend.ts"],
  ["types that refer to each other", "@jamba/ssm", "packages/ssm", 'export type { A } from "./a.ts";', {}, "src/a.ts"],
  ["a type of node:", "@jamba/core", "packages/core", 'type X = import("node:fs").Stats;', {}, "src/a.ts"],
  ["import() of node: in a package for browsers", "@jamba/core", "packages/core", 'await import("node:fs");', {}, "src/a.ts"],
  [
    "a test that looks at node: and at fixtures",
    "@jamba/core",
    "packages/core",
    'import "node:fs"; import "vitest"; import "../../../tooling/x.ts";',
    {},
    "src/a.test.ts",
  ],
  ["files above the rooms", "@jamba/loader", "packages/loader", 'import "./hub/client.ts";', {}, "src/a.ts"],
  ["a test in a room", "@jamba/loader", "packages/loader", 'import "../hub/client.ts";', {}, "src/gguf/a.test.ts"],
])("%s is let through", (_, name, folder, source, dependencies, file) => {
  expect(checkDeps(plant(name, folder, source, dependencies as Record<string, string>, file))).toEqual([]);
});
