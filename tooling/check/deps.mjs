// Fails on an import that the tree's arrows do not draw, and on a runtime dependency that nobody gave a reason for.
// Type-only imports count as imports: they show in the .d.ts files.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { isBuiltin } from "node:module";
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
  "@jamba/grammar": ["@jamba/core"],
  "@jamba/backend-cpu": ["@jamba/core"],
  "@jamba/backend-webgpu": ["@jamba/core"],
  "@jamba/backend-cuda": ["@jamba/core"],
  "@jamba/tiny-model": [],
  jamba: ["@jamba/core", "@jamba/ssm", "@jamba/attention", "@jamba/moe", "@jamba/loader", "@jamba/tokenizer", "@jamba/grammar"],
  "@jamba/conformance": ["@jamba/core", "@jamba/ssm", "@jamba/attention", "@jamba/moe"],
  "@jamba/server": ["jamba"],
  "@jamba/cli": ["jamba", "@jamba/loader", "@jamba/tokenizer", "@jamba/server"],
  "@jamba/chat": ["jamba"],
  // Measures the backend beside the whole, on weights that it makes itself.
  "@jamba/bench": [
    "jamba",
    "@jamba/core",
    "@jamba/loader",
    "@jamba/tokenizer",
    "@jamba/grammar",
    "@jamba/backend-cpu",
    "@jamba/backend-webgpu",
    "@jamba/conformance",
    "@jamba/server",
  ],
  // Real clients that need a newer Node than the rest.
  "@jamba/client-trials": ["jamba", "@jamba/server"],
  // Pages for real browsers; nothing of it is published.
  "@jamba/browser-trials": ["jamba", "@jamba/core"],
  // Asks the small model its questions through the public API, as an app would.
  "@jamba/tiny-model-recipe": ["jamba"],
};

/** Tests also import these; no arrow leads back, for nothing that is published imports a test. */
const testArrows = ["@jamba/conformance", "@jamba/tiny-model", "@jamba/backend-cpu", "@jamba/backend-webgpu", "@jamba/backend-cuda"];

/** The one file that may reach a backend, and only by import(). */
/** Where Node's modules are imported, so that no bundler looks for them. */
const nodeDoor = "packages/core/src/from-node.ts";
const backendDoor = "packages/jamba/src/load/open-backend.ts";

/** Runtime dependencies from outside, each with its reason. */
const allowed = {
  "@jamba/core": { "onnxruntime-common": "its Tensor is the public host tensor" },
  "@jamba/tokenizer": {
    "@huggingface/tokenizers": "reads tokenizer.json, exact on the published vectors",
    "@huggingface/jinja": "parses chat templates; tokenizer/src/jinja runs them, as transformers does",
  },
  "@jamba/grammar": {
    "@eslint-community/regexpp": "parses JavaScript's patterns by the standard, with the flag u and without; what ESLint's rules use",
  },
  "@jamba/backend-cpu": {
    "node-addon-api": "headers to build the kernels with where no build came along",
    "node-api-headers": "the same",
  },
  "@jamba/backend-cuda": {
    "node-addon-api": "headers to build the addon with where no build came along",
    "node-api-headers": "the same",
  },
  jamba: {
    "@standard-schema/spec": "types alone: what zod, valibot and the others agree on",
    "fastest-levenshtein": "how far a mistyped name is from the known ones",
  },
  "@jamba/server": {
    hono: "routes and middleware on web standards, testable without a socket",
    "@hono/node-server": "the same on node's HTTP server",
    zod: "checks requests at the door; the OpenAPI document is made from its schemas",
    pino: "log lines",
    "prom-client": "metrics in Prometheus' format",
  },
  "@jamba/chat": {
    ai: "types alone: what a ChatTransport is",
  },
  "@jamba/cli": {
    "@inquirer/select": "a list to choose from, by arrow keys and numbers; kept, and ends by an AbortSignal",
    "cli-progress": "progress bars",
    "fastest-levenshtein": "the same as in jamba, for commands, flags and models",
    hyparquet: "data sets as the hub has them; read when a file is one, and it brings nothing along",
    picocolors: "colours that respect NO_COLOR",
    "string-width": "columns that a text takes: wide characters, emoji, combining marks",
    undici: "proxies of the environment for fetch, which node has only from 24 on",
  },
};

/**
 * Rooms: the folders of a package's source, each of which may import itself and those before it. "." are the files beside the folders;
 * where it is left out they put the rooms together: they may import all, and no room imports them. So does index.ts everywhere.
 * Tests may import anything of their package.
 */
const rooms = {
  "packages/jamba/src": ["model", "state", "engine", "format", "answer", ".", "load", "plan", "convert"],
  "packages/loader/src": ["source", "model", "safetensors", "gguf", "hub"],
};

/** Must run in browsers: node: built-ins only through import(). */
const portable = [
  "@jamba/core",
  "@jamba/ssm",
  "@jamba/attention",
  "@jamba/moe",
  "@jamba/loader",
  "@jamba/tokenizer",
  "@jamba/grammar",
  "jamba",
];

/** Development dependencies that builds put into dist, each with its reason. Their licences are in the package's THIRD-PARTY-NOTICES. */
const bundled = {
  jamba: {
    zod: "JSON schemas of zod 4 before 4.2; as a dependency of its own it would come beside the user's",
    "zod-to-json-schema": "JSON schemas of zod 3; it asks for a zod beside it",
    "@valibot/to-json-schema": "JSON schemas of valibot; it asks for a valibot beside it",
  },
  // In the page alone, which no package has: see its README for what each weighs.
  "@jamba/chat": {
    "@noble/hashes": "SHA-256 of what is downloaded while it comes, which WebCrypto has not",
    "@ai-sdk/react": "useChat, which the page's transport is for",
    dompurify: "takes out of HTML what could run or be fetched",
    "highlight.js": "colours of code, a language at a time",
    "lucide-preact": "icons",
    marked: "markdown",
    preact: "components, at an eighth of React's weight",
    temml: "maths as MathML, which needs no fonts",
  },
};

/** @returns one line per violation */
export function checkDeps(root) {
  const problems = [];
  for (const folder of packageFolders(root)) {
    const text = readFileSync(join(folder, "package.json"), "utf8");
    const manifest = JSON.parse(text);
    const runtime = { ...manifest.dependencies, ...manifest.optionalDependencies };
    for (const name of Object.keys({ ...runtime, ...manifest.peerDependencies })) {
      if (isOurs(name) || manifest.private || allowed[manifest.name]?.[name]) continue;
      const where = `${relative(root, folder)}/package.json:${lineOf(text, text.indexOf(`"${name}":`))}`;
      problems.push(`${where}: runtime dependency ${name}: expected one with a reason in tooling/check/deps.mjs, found none`);
    }
    const imports = new Map(sourceFiles(folder).map((file) => [file, importsOf(file, readFileSync(file, "utf8"))]));
    for (const [file, found] of imports) problems.push(...checkFile(root, folder, file, found, manifest, runtime));
    problems.push(...importCycles(root, imports));
  }
  return problems;
}

function checkFile(root, folder, file, imports, manifest, runtime) {
  const path = relative(root, file);
  // Scripts that build a module for WebAssembly run on a developer's machine alone.
  const isTest = /\.(test|config)\.[cm]?[jt]sx?$|\/test\/|\/native\//.test(path);
  const text = readFileSync(file, "utf8");
  const browser = !isTest && portable.includes(manifest.name);
  const problems = [];
  const report = (position, what) => problems.push(`${path}:${lineOf(text, position)}: ${what}`);
  if (!isTest)
    for (const { index } of text.matchAll(/^export (\*|default|\{[^}]*\bas default\b)/gm))
      report(index, "expected named exports, found `export *` or a default one");
  for (const { specifier, position, dynamic } of imports) {
    if (specifier === undefined) {
      if (browser && ![backendDoor, nodeDoor].includes(path))
        report(position, "import(): expected a literal, which bundlers and this check can follow");
    } else if (specifier.startsWith(".")) {
      const target = relative(root, resolve(dirname(file), specifier));
      if (!isTest) checkRooms(specifier, target, position);
      if (!target.startsWith(`${relative(root, folder)}/`) && !(isTest && target.startsWith("tooling/")))
        report(position, `${specifier}: expected a file of the same package`);
    } else if (isBuiltin(specifier)) {
      if (!specifier.startsWith("node:")) report(position, `${specifier}: expected node:${specifier}`);
      else if (browser && !dynamic) report(position, `${specifier}: expected import() of node built-ins in a package for browsers`);
    } else checkPackageImport(specifier, position, dynamic);
  }
  return problems;

  function checkRooms(specifier, target, position) {
    for (const [parent, order] of Object.entries(rooms)) {
      const roomOf = (one) => relative(parent, dirname(one)).split("/")[0] || ".";
      const isFree = path === `${parent}/index.ts` || (roomOf(path) === "." && !order.includes("."));
      if (!path.startsWith(`${parent}/`) || isFree) continue;
      const [from, to] = [order.indexOf(roomOf(path)), order.indexOf(roomOf(target))];
      if (from === -1) report(position, `${parent}/${roomOf(path)}: expected a room of tooling/check/deps.mjs`);
      else if (to === -1 || to > from)
        report(position, `${specifier}: expected a file of ${order.slice(0, from + 1).join(", ")}, found one of a room above`);
    }
  }

  function checkPackageImport(specifier, position, dynamic) {
    const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
    if (name !== specifier && isOurs(name) && !specifier.endsWith("package.json"))
      report(position, `${specifier}: expected the package itself, found a deep import`);
    const fromTests = isTest ? { ...manifest.devDependencies, ...rootDevDependencies(root) } : {};
    const intoDist = name in (manifest.devDependencies ?? {}) && bundled[manifest.name]?.[name];
    if (!(name in { ...runtime, ...manifest.peerDependencies, ...fromTests }) && !intoDist)
      report(position, `${specifier}: expected a dependency that ${manifest.name} declares`);
    const isDoor = name.startsWith("@jamba/backend-") && (path === backendDoor ? dynamic : isTest && manifest.name === "jamba");
    const drawn = [...(arrows[manifest.name] ?? []), ...(isTest ? testArrows : [])];
    if (isOurs(name) && !isDoor && !drawn.includes(name))
      report(position, `${manifest.name} → ${name}: expected one of ${drawn.join(", ") || "no arrows"}`);
  }
}

/** Files of one package that load each other in a ring, each ring once. Types may refer to each other. */
function importCycles(root, imports) {
  const problems = [];
  const done = new Set();
  const visit = (file, trail) => {
    for (const { specifier, position, erased } of imports.get(file)) {
      const next = !erased && specifier?.startsWith(".") && resolve(dirname(file), specifier);
      if (trail.includes(next)) {
        const ring = [...trail.slice(trail.indexOf(next)), next].map((one) => relative(root, one));
        const where = `${relative(root, file)}:${lineOf(readFileSync(file, "utf8"), position)}`;
        problems.push(`${where}: expected no import cycle, found ${ring.join(" → ")}`);
      } else if (imports.has(next) && !done.has(next)) visit(next, [...trail, next]);
    }
    done.add(file);
  };
  for (const file of imports.keys()) if (!done.has(file)) visit(file, [file]);
  return problems;
}

/** Static, dynamic and type-only imports, and re-exports; no specifier where import() computes it. */
function importsOf(file, text) {
  const found = [];
  const visit = (node) => {
    const isCall = ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword;
    const isType = ts.isImportTypeNode(node);
    const literal = isCall ? node.arguments[0] : isType ? node.argument.literal : node.moduleSpecifier;
    if (literal) {
      const specifier = ts.isStringLiteralLike(literal) ? literal.text : undefined;
      const erased = isType || Boolean(node.importClause?.isTypeOnly ?? node.isTypeOnly);
      found.push({ specifier, position: literal.end, dynamic: isCall || isType, erased });
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest));
  return found;
}

function lineOf(text, position) {
  return text.slice(0, position).split("\n").length;
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
    .filter((file) => /\.[cm]?[jt]sx?$/.test(file) && !/(^|\/)(node_modules|dist)\//.test(relative(folder, file)));
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
