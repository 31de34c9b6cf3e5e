// The scripts are asked by the shell itself, where that is on this machine.

import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { jamba } from "../../test/jamba.ts";

const scriptOf = async (shell: string) => (await jamba(["completion", shell])).stdout;
const absent = (shell: string) => (spawnSync(shell, ["-c", "exit 0"]).status === 0 ? undefined : `no ${shell} on this machine`);

describe("bash", () => {
  test.each([
    [["jamba", "ru"], ["run"]],
    [
      ["jamba", "run", "--top"],
      ["--top-k", "--top-p"],
    ],
    [
      ["jamba", "run", "--backend", "c"],
      ["cuda", "cpu"],
    ],
    [
      ["jamba", "quantize", "--dtype", "q4"],
      ["q4", "q4_k_m"],
    ],
    [["jamba", "chat", "--file", "/etc/host"], expect.arrayContaining(["/etc/hosts"])],
    [["jamba", "run", "--seed", ""], []],
    [["jamba", "fly", "--x"], []],
  ])("%j", async (words, expected) => {
    const program = `${await scriptOf("bash")}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _jamba; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync("bash", ["--norc", "-c", program], { encoding: "utf8" });
    expect([stdout.split("\n").filter(Boolean), stderr]).toEqual([expected, ""]);
  });
});

test.each(["zsh", "fish"])("%s takes its script", async (shell) => {
  const script = await scriptOf(shell);
  // Each flag of run is in it, whether or not the shell is here to read it.
  for (const name of ["max-tokens", "json-schema", "xtc-threshold", "offline"]) expect(script).toContain(name);
});

for (const shell of ["zsh", "fish"])
  test(`${shell} parses it`, async ({ skip }) => {
    const reason = absent(shell);
    if (reason) skip(reason);
    const { status, stderr } = spawnSync(shell, ["-n"], { input: await scriptOf(shell), encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
  });
