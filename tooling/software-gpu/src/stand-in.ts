// What tests of CUDA run on: a library in place of NVIDIA's driver whose device is the processor (packages/runtime-backends/cuda/native/stand-in).

import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../../../packages/runtime-backends/cuda", import.meta.url));

/** The library, built where it is not; or why there is none. */
export function findStandIn(): { readonly driver: string } | string {
  if (process.platform !== "linux" || process.arch !== "x64")
    return `the stand-in for CUDA runs on Linux on x64, not on ${process.platform} on ${process.arch}`;
  try {
    execFileSync(process.env.CXX ?? "c++", ["--version"]);
  } catch {
    return "no C++ compiler to build the stand-in for CUDA with";
  }
  const lock = join(folder, "prebuilds", "building");
  alone(lock, () => {
    for (const what of [[], ["--stand-in"]]) execFileSync(process.execPath, [join(folder, "build-native.mjs"), ...what], { stdio: "pipe" });
  });
  return { driver: join(folder, "prebuilds", "stand-in", "libcuda.so.1") };
}

/** One process at a time: another one finds what this one built. */
function alone(lock: string, work: () => void): void {
  mkdirSync(dirname(lock), { recursive: true });
  for (let waited = 0; ; waited++) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      // A process that was ended left it.
      if (waited > 600) rmSync(lock, { recursive: true });
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    }
  }
  try {
    work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}
