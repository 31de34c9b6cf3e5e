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
    [
      ["jamba", "run", "--dtype", ""],
      ["auto", "f32", "bf16", "f16", "q8", "q4_1", "q4_k", "q4", "experts-int8"],
    ],
    [
      ["jamba", "quantize", "--dtype", ""],
      ["f32", "f16", "q4", "q8", "experts-int8", "q4_k_m", "bf16"],
    ],
    [["jamba", "help", "co"], ["completion"]],
    [
      ["jamba", "completion", ""],
      ["bash", "zsh", "fish"],
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

test.each([
  ["run", ["x"]],
  ["quantize", ["tiny", "x.gguf"]],
])("%s --dtype completes what the library takes, all of it", async (command, words) => {
  const [, known] = /expected one of ([^;]*), found/.exec((await jamba([command, ...words, "--dtype", "none"])).stderr)!;
  expect(await scriptOf("bash")).toContain(`compgen -W "${known.split(", ").join(" ")}"`);
});

test.each(["zsh", "fish"])("%s takes its script", async (shell) => {
  const script = await scriptOf(shell);
  // Each flag of run is in it, whether or not the shell is here to read it.
  for (const name of ["max-tokens", "json-schema", "xtc-threshold", "offline"]) expect(script).toContain(name);
  expect(script).toMatch(/\(?auto f32 bf16 f16 q8 q4_1 q4_k q4 experts-int8/);
});

for (const shell of ["zsh", "fish"])
  test(`${shell} parses it`, async ({ skip }) => {
    const reason = absent(shell);
    if (reason) skip(reason);
    const { status, stderr } = spawnSync(shell, ["-n"], { input: await scriptOf(shell), encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
  });
