import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
// @ts-expect-error plain JavaScript, so that it runs without a build
import { packageFolders } from "./deps.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const names: string[] = packageFolders(root).map((folder: string) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).name);
const files = readdirSync(join(root, ".changeset")).filter((file) => file.endsWith(".md"));

test("each changeset names packages of this repository and says one thing, which no other says", () => {
  const texts = files.map((file) => {
    const found = /^---\n+((?:"[^"]+": (?:major|minor|patch)\n)+)---\n\n(\S.*)\n$/.exec(
      readFileSync(join(root, ".changeset", file), "utf8"),
    );
    expect(found, file).not.toBeNull();
    const [, packages, text] = found!;
    for (const [, name] of packages.matchAll(/"([^"]+)"/g)) expect(names, file).toContain(name);
    return text;
  });
  expect(new Set(texts).size).toBe(texts.length);
});
