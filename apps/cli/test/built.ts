// The built command, for tests that need a process of their own.

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL("..", import.meta.url));
export const program = join(here, "dist/main.js");

const changedAt = (folder: string) =>
  Math.max(
    ...readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
      .map((name) => statSync(join(folder, name)).mtimeMs),
  );

/** Why it can't be run; undefined where it can. */
export function notBuilt(): string | undefined {
  if (!existsSync(program)) return "apps/cli is not built; run pnpm build";
  if (statSync(program).mtimeMs < changedAt(join(here, "src"))) return "apps/cli/dist is older than its sources; run pnpm build";
  return undefined;
}
