// Which kernels there are: a file is a module, and one for each format where it is compiled for a format of weights, or of keys and values.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const native = join(dirname(fileURLToPath(import.meta.url)), "native");

const formats = {
  WEIGHT: { f32: "F32", bf16: "Bf16", f16: "F16", q8: "Q8", q4: "Q4", q4_1: "Q4_1", q4_k: "Q4K" },
  KV: { f32: "KvF32", f16: "KvF16", bf16: "KvBf16" },
};

/** @returns name, stem of the file, and what it is compiled with, of each module */
export function modules() {
  return readdirSync(join(native, "kernels"))
    .sort()
    .flatMap((file) => {
      const stem = file.replace(/\.cu$/, "");
      const text = readFileSync(join(native, "kernels", file), "utf8");
      const kind = /"\.\.\/(weights|sweep)\.h"/.test(text) ? "WEIGHT" : /"\.\.\/kv\.h"/.test(text) ? "KV" : undefined;
      if (!kind) return [{ name: stem, stem, defines: {} }];
      return Object.entries(formats[kind]).map(([dtype, type]) => ({
        name: `${stem}.${dtype}`,
        stem,
        defines: { DTYPE: dtype, [kind]: type },
      }));
    });
}

/** Fields of the struct that a file's kernels take, in their order: pointers are "address". */
export function paramsOf(stem) {
  const text = readFileSync(join(native, "kernels", `${stem}.cu`), "utf8").replace(/\/\/.*$/gm, "");
  const [, body] = /struct Params \{([^}]*)\}/.exec(text);
  return body
    .split(";")
    .map((line) => line.trim())
    .filter(Boolean)
    .flatMap((line) => {
      const [, type, names] = /^(?:const )?(\w+\s*\**)\s*(.*)$/s.exec(line);
      return names.split(",").map((name) => ({ name: name.trim(), type: type.includes("*") ? "address" : type.trim() }));
    });
}

export const hashOf = (text) => createHash("sha256").update(text).digest("hex");

/** Hashes of what modules are made of. */
export function sourcesOf() {
  const files = readdirSync(native).filter((name) => /^(kv|parts|shares|sweep|warp|weights)\.h$/.test(name));
  const kernels = readdirSync(join(native, "kernels")).map((name) => `kernels/${name}`);
  return Object.fromEntries([...files, ...kernels].sort().map((name) => [name, hashOf(readFileSync(join(native, name)))]));
}
