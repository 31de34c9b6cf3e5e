// The Vulkan loader and SwiftShader out of the archives of @sparticuz/chromium, into a folder that later runs find again.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";

/** Those with these beginnings hold all that is needed; the browser itself stays packed. */
const archives = ["al2023.tar.br", "swiftshader.tar.br"];

/** @returns the folder with libvulkan.so.1, libvk_swiftshader.so and its description, all of them beside each other */
export async function unpackVulkan(): Promise<string> {
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new Error(`expected Linux on x64 for a driver from npm, found ${process.platform} on ${process.arch}; JAMBA_VULKAN=system`);
  const home = packageFolder();
  const { version } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
  const folder = join(tmpdir(), `jamba-swiftshader-${version}`);
  if (existsSync(folder)) return folder;
  const partial = mkdtempSync(`${folder}.`);
  for (const archive of archives) unpack(brotliDecompressSync(readFileSync(pathOf(home, archive))), partial);
  try {
    renameSync(partial, folder);
  } catch (error) {
    rmSync(partial, { recursive: true });
    if (!existsSync(folder)) throw error; // else another process was first
  }
  return folder;
}

function packageFolder(): string {
  let folder = dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium"));
  while (!existsSync(join(folder, "bin"))) folder = dirname(folder);
  return folder;
}

function pathOf(home: string, archive: string): string {
  const found = (readdirSync(join(home, "bin"), { recursive: true }) as string[]).find(
    (path) => basename(path) === archive && !path.includes("arm64"),
  );
  if (!found) throw new Error(`expected ${archive} in ${home}, found none`);
  return join(home, "bin", found);
}

/** Files and links of a tar, all into one folder: each library then finds the others beside itself. */
function unpack(tar: Buffer, folder: string): void {
  const text = (at: number, length: number) => tar.toString("utf8", at, at + length).replace(/\0.*$/s, "");
  mkdirSync(folder, { recursive: true });
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const [name, size, kind] = [basename(text(at, 100)), Number.parseInt(text(at + 124, 12), 8), String.fromCharCode(tar[at + 156])];
    const to = join(folder, name);
    if (kind === "0" || kind === "\0") writeFileSync(to, tar.subarray(at + 512, at + 512 + size), { mode: 0o755 });
    else if (kind === "2" && !existsSync(to)) symlinkSync(basename(text(at + 157, 100)), to);
    at += 512 + 512 * Math.ceil(size / 512);
  }
}
