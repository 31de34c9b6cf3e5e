import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const folder = new URL("./fixtures/", import.meta.url);

test("the goldens are the files that the README lists", () => {
  const listed = [...readFileSync(new URL("README.md", folder), "utf8").matchAll(/^([0-9a-f]{64}) {2}(\S+)$/gm)];
  const cases = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const files = cases.flatMap(({ name }) => readdirSync(new URL(`${name}/`, folder)).map((file) => `${name}/${file}`));
  expect(listed.map(([, , file]) => file).sort()).toEqual(files.sort());
  for (const [, hash, file] of listed)
    expect(
      createHash("sha256")
        .update(readFileSync(new URL(file, folder)))
        .digest("hex"),
      file,
    ).toBe(hash);
});
