// Fails on an import that the tree's arrows do not draw, and on a runtime dependency that nobody gave a reason for.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** Who may import whom: the picture in ARCHITECTURE.md. */
const arrows = {
  "@jamba/core": [],
  "@jamba/ssm": ["@jamba/core"],
  "@jamba/attention": ["@jamba/core"],
  "@jamba/moe": ["@jamba/core"],
  "@jamba/loader": ["@jamba/core"],
  "@jamba/tokenizer": ["@jamba/core"],
  "@jamba/backend-cpu": ["@jamba/core"],
  "@jamba/backend-webgpu": ["@jamba/core"],
  "@jamba/backend-cuda": ["@jamba/core"],
  "@jamba/tiny-model": [],
  jamba: ["@jamba/core", "@jamba/ssm", "@jamba/attention", "@jamba/moe", "@jamba/loader", "@jamba/tokenizer"],
  "@jamba/conformance": ["@jamba/core", "@jamba/ssm", "@jamba/attention", "@jamba/moe"],
  "@jamba/cli": ["jamba", "@jamba/loader", "@jamba/tokenizer"],
};

/** The one file that may reach a backend, and only by import(). */
const backendDoor = "packages/jamba/src/open-backend.ts";

/** Runtime dependencies from outside, each with its reason. */
const allowed = {
  "@jamba/core": { "onnxruntime-common": "its Tensor is the public host tensor" },
  "@jamba/tokenizer": {
    "@huggingface/tokenizers": "reads tokenizer.json, exact on the published vectors",
    "@huggingface/jinja": "renders chat templates as transformers does",
  },
  "@jamba/cli": { "cli-progress": "progress bars", picocolors: "colours that respect NO_COLOR" },
};

/** Must run in browsers: node: built-ins only through import(). */
const portable = ["@jamba/core", "@jamba/ssm", "@jamba/attention", "@jamba/moe", "@jamba/loader", "@jamba/tokenizer", "jamba"];

/** @returns one line per violation */
export function checkDeps(root) {
  const problems = [];
  for (const folder of packageFolders(root)) {
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const where = relative(root, join(folder, "package.json"));
    const runtime = { ...manifest.dependencies, ...manifest.optionalDependencies };
    for (const name of Object.keys({ ...runtime, ...manifest.peerDependencies })) {
      if (isOurs(name) || manifest.private || allowed[manifest.name]?.[name]) continue;
      problems.push(`${where}: runtime dependency ${name}: expected one with a reason in tooling/check/deps.mjs, found none`);
    }
    for (const file of sourceFiles(folder)) problems.push(...checkFile(root, folder, file, manifest, runtime));
  }
  return problems;
}

function checkFile(root, folder, file, manifest, runtime) {
  const path = relative(root, file);
  const isTest = /\.test\.ts$|\/test\/|\.config\.ts$/.test(path);
  const text = readFileSync(file, "utf8");
  const problems = [];
  const report = (position, what) => problems.push(`${path}:${text.slice(0, position).split("\n").length}: ${what}`);
  if (!isTest)
    for (const { index } of text.matchAll(/^export (\*|default)/gm))
      report(index, "expected named exports, found `export *` or a default one");
  for (const { specifier, position, dynamic } of importsOf(file, text)) {
    const name = specifier.startsWith("@") ? specifier.split("/").slice(0, 2).join("/") : specifier.split("/")[0];
    if (specifier.startsWith(".")) {
      if (!isTest && !resolve(dirname(file), specifier).startsWith(folder))
        report(position, `${specifier}: expected a file of the same package`);
    } else if (specifier.startsWith("node:")) {
      if (!isTest && !dynamic && portable.includes(manifest.name))
        report(position, `${specifier}: expected import() of node built-ins in a package for browsers`);
    } else {
      if (name !== specifier && isOurs(name) && !specifier.endsWith("package.json"))
        report(position, `${specifier}: expected the package itself, found a deep import`);
      const declared =
        name in runtime ||
        name in (manifest.peerDependencies ?? {}) ||
        (isTest && name in { ...manifest.devDependencies, ...rootDevDependencies(root) });
      if (!declared) report(position, `${specifier}: expected a dependency that ${manifest.name} declares`);
      const isDoor = path === backendDoor && dynamic && name.startsWith("@jamba/backend-");
      if (isOurs(name) && !isTest && !isDoor && !arrows[manifest.name]?.includes(name)) {
        report(position, `${manifest.name} → ${name}: expected one of ${arrows[manifest.name]?.join(", ") || "no arrows"}`);
      }
    }
  }
  return problems;
}

/** Static, dynamic and type-only imports, and re-exports. */
function importsOf(file, text) {
  const found = [];
  const visit = (node) => {
    const dynamic = ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword;
    const literal = dynamic ? node.arguments[0] : node.moduleSpecifier;
    if (literal && ts.isStringLiteral(literal)) found.push({ specifier: literal.text, position: literal.pos, dynamic });
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest));
  return found;
}

/** Folders that hold a package.json, below packages, apps and tooling. */
export function packageFolders(root) {
  const walk = (folder, depth) => {
    if (!existsSync(folder)) return [];
    if (existsSync(join(folder, "package.json"))) return [folder];
    const inner = readdirSync(folder).filter((name) => name !== "node_modules" && statSync(join(folder, name)).isDirectory());
    return depth === 0 ? [] : inner.flatMap((name) => walk(join(folder, name), depth - 1));
  };
  return ["packages", "apps", "tooling"].flatMap((top) => walk(join(root, top), 2));
}

function sourceFiles(folder) {
  return readdirSync(folder, { recursive: true })
    .map((name) => join(folder, name))
    .filter((file) => file.endsWith(".ts") && !/node_modules|\/dist\//.test(relative(folder, file)) && !file.includes("/dist/"));
}

function isOurs(name) {
  return name === "jamba" || name.startsWith("@jamba/");
}

const rootManifests = new Map();
function rootDevDependencies(root) {
  if (!rootManifests.has(root)) rootManifests.set(root, JSON.parse(readFileSync(join(root, "package.json"), "utf8")).devDependencies ?? {});
  return rootManifests.get(root);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = checkDeps(fileURLToPath(new URL("../../", import.meta.url)));
  for (const problem of problems) console.error(problem);
  console.log(problems.length === 0 ? "imports and dependencies are as drawn" : `${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
