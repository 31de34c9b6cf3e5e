// Proves against Python's huggingface_hub that both share one cache: what either downloads, the other finds, without
// another request. Needs a python3 with huggingface_hub (or the path of one as argument) and no network: the hub is ours.

import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isDeepStrictEqual, promisify } from "node:util";
import { buildSource } from "../hub/build-sources.mjs";

const run = promisify(execFile);
const python = process.argv[2] ?? "python3";
const root = fileURLToPath(new URL("../../", import.meta.url));
const id = "owner/model";

const version = await run(python, ["-c", "import huggingface_hub; print(huggingface_hub.__version__)"]).catch((error) => error);
if (version instanceof Error) {
  console.log(
    `skipped: ${python} with huggingface_hub is missing (${version.message.trim().split("\n").at(-1)}); pip install huggingface_hub`,
  );
  process.exit(0);
}
console.log(`huggingface_hub ${version.stdout.trim()}`);

const work = await mkdtemp(join(tmpdir(), "jamba-python-"));
const load = async (file, folder) => import(pathToFileURL(await buildSource(join(root, file), join(work, folder))).href);
const { downloadIn } = await load("packages/loader/src/hub/download.ts", "built-loader");
const { startHub } = await load("tooling/hub/hub-server.ts", "built-hub");
const hub = await startHub();
const bytes = (size, seed) => Uint8Array.from({ length: size }, (_, i) => (i * seed) >> 3);
const files = {
  "config.json": new TextEncoder().encode('{"model_type":"jamba"}'),
  "tokenizer.json": bytes(70_000, 3),
  "model.safetensors": { bytes: bytes(3_000_000, 7), lfs: true },
};
const gguf = { "q/m-Q4_K_M.gguf": { bytes: bytes(200_000, 5), lfs: true }, "q/m-Q8_0.gguf": { bytes: bytes(300_000, 11), lfs: true } };
const never = () => Promise.reject(new Error("a connection was opened"));

let failures = 0;
function expect(what, found, expected) {
  const same = isDeepStrictEqual(found, expected);
  if (!same) failures++;
  console.log(`${same ? "yes" : "NO "} ${what}${same ? "" : `: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`}`);
}

/** Runs lines of Python, whose `show(value)` prints JSON. */
async function inPython(cacheDir, lines, env = {}) {
  const program = ["import json", "from huggingface_hub import *", "show = lambda value: print(json.dumps(value))", ...lines].join("\n");
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^HF_|^HUGGING|_proxy$/i.test(name)));
  const hubEnv = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cacheDir, HF_HOME: join(cacheDir, "home"), HF_HUB_DISABLE_XET: "1" };
  const { stdout } = await run(python, ["-c", program], { env: { ...clean, ...hubEnv, HF_HUB_DISABLE_TELEMETRY: "1", ...env } });
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** Names, links and contents of what a cache holds of a repository, but for what each of the two keeps for itself. */
async function layout(cacheDir) {
  const repo = join(cacheDir, "models--owner--model");
  const found = {};
  for (const entry of await readdir(repo, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const name = relative(repo, path);
    if (entry.isDirectory() || /^(trees|\.)|\/\./.test(name)) continue;
    found[name] = entry.isSymbolicLink() ? `-> ${await readlink(path)}` : (await readFile(path)).toString("base64");
  }
  return found;
}

try {
  const commit = hub.add(id, { ...files, "README.md": bytes(50, 1) });
  const [ours, theirs] = [join(work, "ours"), join(work, "theirs")];
  const get = (name, cacheDir, more = {}, around = {}) =>
    downloadIn({ env: {}, ...around }, name, { endpoint: hub.endpoint, cacheDir, ...more });
  const names = Object.keys(files).sort();
  const all = `allow_patterns=${JSON.stringify([...names])}`;
  const requests = () => hub.requests.splice(0).length;

  const mine = await get(id, ours);
  requests();
  expect(
    "snapshot_download(local_files_only) finds what jamba downloaded",
    await inPython(ours, [`show(snapshot_download("${id}", local_files_only=True))`]),
    [mine.folder],
  );
  expect(
    "hf_hub_download offline finds each file",
    await inPython(
      ours,
      names.map((name) => `show(hf_hub_download("${id}", "${name}"))`),
      { HF_HUB_OFFLINE: "1" },
    ),
    names.map((name) => join(mine.folder, name)),
  );
  expect(
    "try_to_load_from_cache too",
    await inPython(ours, [`show(try_to_load_from_cache("${id}", "config.json", revision="${commit}"))`]),
    [join(mine.folder, "config.json")],
  );
  // It asks for lists of its own making now and then, which have to do with no repository.
  const asked = hub.requests.splice(0).filter(({ path }) => path.includes(id));
  expect("for that Python asks the hub nothing about the model", asked, []);
  await inPython(ours, [`show(snapshot_download("${id}", ${all}))`]);
  expect(
    "online it fetches no file again",
    hub.requests.filter(({ server, method, path }) => server === "cdn" || (method === "GET" && path.includes("/resolve/"))),
    [],
  );
  expect(
    "scan_cache_dir sees one sound repository",
    await inPython(ours, [
      "info = scan_cache_dir()",
      "show([len(info.warnings), [[r.repo_id, r.size_on_disk, r.nb_files, [sorted(v.refs) for v in r.revisions]] for r in info.repos]])",
    ]),
    [[0, [[id, mine.totalBytes, 3, [["main"]]]]]],
  );
  requests();

  const [folder] = await inPython(theirs, [`show(snapshot_download("${id}", ${all}))`]);
  requests();
  const offline = await get(id, theirs, { offline: true }, { fetch: never });
  expect(
    "jamba offline finds what Python downloaded",
    [offline.folder, offline.files.toSorted(), offline.fetchedBytes],
    [folder, names, 0],
  );
  expect("and asks nothing", requests(), 0);
  expect("online it fetches nothing again", (await get(id, theirs)).fetchedBytes, 0);
  expect("both caches are the same, byte for byte and link for link", await layout(ours), await layout(theirs));
  requests();

  hub.add(id, gguf);
  const one = await get(`${id}:Q4_K_M`, ours);
  requests();
  expect(
    "a .gguf in a folder that jamba downloaded is found by Python",
    await inPython(ours, [`show(hf_hub_download("${id}", "q/m-Q4_K_M.gguf", local_files_only=True))`]),
    [join(one.folder, one.file)],
  );
  const [other] = await inPython(theirs, [`show(hf_hub_download("${id}", "q/m-Q8_0.gguf", revision="refs/pr/1"))`]);
  const found = await get(`${id}:Q8_0`, theirs, { offline: true, revision: "refs/pr/1" }, { fetch: never });
  expect("and one that Python downloaded from a pull request by jamba", join(found.folder, found.file), other);

  const left = await inPython(ours, [
    "import os",
    `path = os.path.join("${ours}", "models--owner--model", "blobs")`,
    'show([name for name in os.listdir(path) if "jamba" in name])',
  ]);
  expect("jamba leaves no files of its own", left, [[]]);
} finally {
  await hub.close();
  await rm(work, { recursive: true, force: true });
}
console.log(failures === 0 ? "one cache for both" : `${failures} differences`);
process.exitCode = failures === 0 ? 0 : 1;
