// Files that change under a model: it ends with an error that names them, and the process goes on.

import { type ChildProcess, spawn } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  linkSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { copyFile, cp, mkdtemp, open, readFile, rename, rm, truncate, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildSource } from "../../../tooling/hub/build-sources.mjs";
import { loadModel, prepareModel } from "../src/index.ts";
import { cpuAbsent } from "./golden.ts";

let root: string;
let module: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "changed-"));
  module = await buildSource(fileURLToPath(new URL("../src/index.ts", import.meta.url)), root);
});
afterAll(() => rm(root, { recursive: true }));

const tiny = fileURLToPath(new URL("../../tiny-model", import.meta.url));
const prebuilds = new URL(`../../runtime-backends/cpu/prebuilds/${process.platform}-${process.arch}/jamba.node`, import.meta.url);
const env = { ...process.env, JAMBA_CPU_ADDON: process.env.JAMBA_CPU_ADDON ?? fileURLToPath(prebuilds) };

/** Answers again and again, and prints each; then the error, and what two more calls and a new model say. */
const answers = `
  const answer = (model) => model.generate([{ role: "user", content: "Who are you?" }], { maxTokens: 40 }).then(({ text }) => text);
  const say = (line) => console.log(JSON.stringify(line));
  const told = ({ name, code, message }) => ({ name, code, message });
  async function run(module, folder) {
    const { loadModel } = await import(module);
    const model = await loadModel(folder, { backend: "cpu", threads: 2 });
    for (;;) {
      const text = await answer(model).catch(told);
      say(text);
      if (typeof text !== "string") break;
    }
    say(await answer(model).catch(told));
    say(await model.forward([1, 2, 3]).then(() => "went on", told));
    await model.dispose();
  }`;
const program = `${answers}
  const [module, folder] = process.argv.slice(1);
  await run(module, folder);
  say("alive");`;
const inWorkers = `
  const { Worker } = await import("node:worker_threads");
  const [module, folder] = process.argv.slice(1);
  const code = ${JSON.stringify(`${answers} import("node:worker_threads").then(({ workerData }) => run(...workerData));`)};
  const ends = [0, 1].map(() => new Promise((resolve) => new Worker(code, { eval: true, workerData: [module, folder] }).once("exit", resolve)));
  await Promise.all(ends);
  console.log(JSON.stringify("alive"));`;

interface Told {
  readonly code: string;
  readonly message: string;
}

async function preparedTiny(): Promise<{ folder: string; file: string }> {
  const folder = join(root, `model-${count++}`);
  await prepareModel("tiny", folder, { dtype: "q4" });
  return { folder, file: join(folder, "model.safetensors") };
}

/** Lets a process answer from `folder`, does `change` after the `after`th line, and gives all that it said, and how it ended. */
async function whileAnswering(folder: string, change: (child: ChildProcess) => Promise<void>, code = program, after = 2) {
  const child = spawn(process.execPath, ["--input-type=module", "-e", code, module, folder], { env, stdio: ["pipe", "pipe", "inherit"] });
  const exit = new Promise((resolve) => child.once("exit", (code, signal) => resolve(signal ?? code)));
  const lines: (string | Told)[] = [];
  for await (const line of createInterface(child.stdout!)) {
    lines.push(JSON.parse(line));
    if (lines.length === after) await change(child);
  }
  return { lines, exit: await exit };
}

const errorsOf = (lines: readonly (string | Told)[]) => lines.filter((line): line is Told => typeof line !== "string");

async function overwrite(file: string): Promise<void> {
  const bytes = await readFile(file);
  const handle = await open(file, "r+");
  // The header stays; of the weights every byte is another.
  const from = 8 + Number(bytes.readBigUInt64LE());
  await handle.write(
    bytes.subarray(from).map((byte) => byte ^ 0x55),
    0,
    bytes.length - from,
    from,
  );
  await handle.close();
}

describe("a mapped file", () => {
  const absent = process.platform === "win32" ? "Windows lets nobody write to a file that is mapped" : cpuAbsent;
  beforeEach(({ skip }) => {
    if (absent) skip(absent);
  });
  test.each([
    ["is cut to nothing", (file: string) => truncate(file, 0), program],
    ["loses its second half", async (file: string) => truncate(file, (await readFile(file)).length >> 1), program],
    ["loses its last byte, which no page shows", async (file: string) => truncate(file, (await readFile(file)).length - 1), program],
    ["is overwritten", overwrite, program],
    ["is cut to nothing under two workers", (file: string) => truncate(file, 0), inWorkers],
  ])(
    "that %s ends the answers with an error that names it, and nothing else",
    async (_, change, code) => {
      const { folder, file } = await preparedTiny();
      const { lines, exit } = await whileAnswering(folder, () => change(file), code);
      expect([exit, lines.at(-1)]).toEqual([0, "alive"]);
      const errors = errorsOf(lines);
      expect(errors).toHaveLength(code === program ? 3 : 6);
      for (const { code, message } of errors) {
        expect(code).toBe("BACKEND");
        expect(message).toContain(`${file}: expected the`);
        expect(message).toMatch(/load it again/);
      }
      // Nobody was told what the other bytes say.
      expect(new Set(lines.slice(0, -1).filter((line) => typeof line === "string")).size).toBe(1);
    },
    60_000,
  );

  test("that is replaced by renaming another one over it goes on as it was", async () => {
    const { folder, file } = await preparedTiny();
    const other = join(root, "other");
    await copyFile(file, other);
    await overwrite(other);
    let replaced = false;
    const stopLater = async (child: ChildProcess) => {
      await rename(other, file);
      replaced = true;
      setTimeout(() => child.kill("SIGKILL"), 1000);
    };
    const { lines } = await whileAnswering(folder, stopLater);
    expect(replaced).toBe(true);
    expect(lines.length).toBeGreaterThan(3);
    expect(new Set(lines).size).toBe(1);
  }, 60_000);

  test("leaves the signal to whoever had it before, and to the system", async () => {
    const { folder } = await preparedTiny();
    const heard = `process.on("SIGBUS", () => { console.log(JSON.stringify("heard")); process.exit(7); });${program}`;
    const send = async (child: ChildProcess) => void child.kill("SIGBUS");
    const { lines, exit } = await whileAnswering(folder, send, heard);
    expect([lines.at(-1), exit]).toEqual(["heard", 7]);
    expect((await whileAnswering(folder, send)).exit).toBe("SIGBUS");
  }, 60_000);
});

describe.each(["reference", "cpu"] as const)("on %s a file that", (backend) => {
  beforeEach(({ skip }) => {
    if (backend === "cpu" && cpuAbsent) skip(cpuAbsent);
  });

  test.each<[what: string, change: (file: string) => void]>([
    ["is overwritten", (file) => writeFileSync(file, readFileSync(file).reverse(), { flag: "r+" })],
    [
      "is overwritten and gets its old time back",
      (file) => {
        const { atime, mtime } = statSync(file);
        writeFileSync(file, readFileSync(file).reverse(), { flag: "r+" });
        utimesSync(file, atime, mtime);
      },
    ],
    ["gets longer", (file) => appendFileSync(file, "x")],
    ["is cut", (file) => truncateSync(file, 100_000)],
    [
      "is replaced",
      (file) => {
        copyFileSync(file, `${file}.new`);
        renameSync(`${file}.new`, file);
      },
    ],
    ["goes", (file) => rmSync(file)],
  ])("%s while it is loaded is a LoadError that names it", async (_, change) => {
    const folder = join(root, `model-${count++}`);
    await cp(tiny, folder, { recursive: true });
    const file = join(folder, "model.safetensors");
    // A time of a round second, which can be set again exactly.
    await utimes(file, 1e9, 1e9);
    let changed = false;
    const onProgress = ({ doneBytes }: { doneBytes: number }) => {
      if (changed || doneBytes < 50_000) return;
      changed = true;
      change(file);
    };
    await expect(loadModel(folder, { backend, onProgress })).rejects.toMatchObject({
      name: "LoadError",
      message: expect.stringContaining(file),
    });
    expect(changed).toBe(true);
  });

  test("gets other rights or another name is loaded all the same", async () => {
    const folder = join(root, `model-${count++}`);
    await cp(tiny, folder, { recursive: true });
    const file = join(folder, "model.safetensors");
    const onProgress = () => {
      chmodSync(file, 0o600);
      rmSync(`${file}.link`, { force: true });
      linkSync(file, `${file}.link`);
    };
    await using model = await loadModel(folder, { backend, onProgress });
    expect(model.dtypes.length).toBeGreaterThan(0);
  });
});
