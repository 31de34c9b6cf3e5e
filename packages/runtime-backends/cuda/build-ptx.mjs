// Makes ptx/ of native/kernels/, with a manifest: hashes of sources and texts, the compiler, and what ptxas says that each kernel takes.
// The compiler comes from PyPI: python3 -m venv VENV && VENV/bin/pip install nvidia-cuda-nvcc==13.5.37 nvidia-cuda-cccl, then
// JAMBA_NVCC=VENV/lib/python3.*/site-packages/nvidia/cu13/bin/nvcc node build-ptx.mjs
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { hashOf, modules, native, paramsOf, sourcesOf } from "./modules.mjs";

const run = promisify(execFile);
const nvcc = process.env.JAMBA_NVCC ?? "nvcc";
const ptxas = join(dirname(nvcc), "ptxas");
const folder = join(dirname(fileURLToPath(import.meta.url)), "ptx");
const flags = ["-O3", "-std=c++17", "-arch=compute_75", "-ptx"];
/** Of PTX: what compute_75 began with, so that drivers that are older than the compiler take it. */
const version = "6.3";
/** What ptxas is asked about: Turing, and the servers of Ampere and Hopper. */
const targets = ["sm_75", "sm_80", "sm_90"];

/** Of each kernel: registers, bytes of shared memory and bytes spilt. */
async function takenOn(target, file, work) {
  const { stderr } = await run(ptxas, ["-v", `-arch=${target}`, file, "-o", join(work, `${target}.cubin`)]);
  const found = {};
  for (const part of stderr.split("Compiling entry function '").slice(1)) {
    const number = (pattern) => Number(pattern.exec(part)?.[1] ?? 0);
    found[part.slice(0, part.indexOf("'"))] = {
      registers: number(/Used (\d+) registers/),
      sharedBytes: number(/(\d+) bytes smem/),
      spillBytes: number(/(\d+) bytes spill stores/) + number(/(\d+) bytes spill loads/),
    };
  }
  return found;
}

async function make({ name, stem, defines }) {
  const work = mkdtempSync(join(tmpdir(), "jamba-ptx-"));
  const file = join(work, "made.ptx");
  const own = Object.entries(defines).map(([key, value]) => `-D${key}=${value}`);
  await run(nvcc, [...flags, ...own, join(native, "kernels", `${stem}.cu`), "-o", file]);
  const made = readFileSync(file, "utf8")
    .replace(/^\/\/.*\n/gm, "")
    // A hint that older drivers refuse.
    .replace(/^\s*\.pragma "used_bytes_mask.*\n/gm, "")
    .replace(/^\.version .*$/m, `.version ${version}`)
    .trimStart();
  writeFileSync(file, made);
  const kernels = {};
  for (const target of targets)
    for (const [kernel, taken] of Object.entries(await takenOn(target, file, work)))
      kernels[kernel] = { ...kernels[kernel], [target]: taken };
  for (const kernel of Object.keys(kernels)) {
    const from = made.indexOf(`.entry ${kernel}(`);
    kernels[kernel] = { threads: Number(/\.maxntid (\d+)/.exec(made.slice(from))[1]), ...kernels[kernel] };
  }
  rmSync(work, { recursive: true });
  writeFileSync(join(folder, `${name}.ptx.gz`), gzipSync(made, { level: 9 }));
  return [name, { stem, sha256: hashOf(made), kernels }];
}

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const waiting = modules();
const made = [];
const work = async () => {
  for (let one = waiting.shift(); one; one = waiting.shift()) made.push(await make(one));
};
await Promise.all(Array.from({ length: availableParallelism() }, work));
const compiler = (await run(nvcc, ["--version"])).stdout.trim().split("\n").at(-1);
const stems = [...new Set(modules().map(({ stem }) => stem))];
const manifest = {
  compiler,
  flags: flags.join(" "),
  version,
  sources: sourcesOf(),
  params: Object.fromEntries(stems.map((stem) => [stem, paramsOf(stem)])),
  modules: Object.fromEntries(made.sort(([a], [b]) => (a < b ? -1 : 1))),
};
writeFileSync(join(folder, "manifest.json"), `${JSON.stringify(manifest)}\n`);
console.log(`${made.length} modules by ${compiler}`);
