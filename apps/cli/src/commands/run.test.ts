import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { jamba } from "../../test/jamba.ts";

const root = mkdtempSync(join(tmpdir(), "jamba-cli-run-"));
afterAll(() => rmSync(root, { recursive: true }));
function write(name: string, text: string): string {
  writeFileSync(join(root, name), text);
  return join(root, name);
}
const promptTokens = async (args: string[], input = "") =>
  JSON.parse((await jamba(["run", ...args, "-n", "1", "--json"], { input })).stdout).usage.promptTokens;

test("files stand before the prompt, stdin where - is; a file alone is the prompt", async () => {
  const [one, two] = [write("one.txt", "Once upon a time\n"), write("two.txt", "Mia ran.")];
  const whole = await promptTokens(["Once upon a time\n\nMia ran.\n\nThen"]);
  expect(await promptTokens(["--file", one, "--file", two, "Then"])).toBe(whole);
  expect(await promptTokens(["--file", "-", "--file", two, "Then"], "Once upon a time\n")).toBe(whole);
  const alone = await jamba(["run", "--file", one, "-n", "8", "-q"], { input: "not read" });
  expect(alone.stdout).toBe(", a little girl named Ines lived near\n");
});

test.each([
  ["a schema as JSON", ["--json-schema", '{"type":"object","properties":{"age":{"type":"integer","maximum":99}},"required":["age"]}']],
  [
    "a schema in a file, for a message",
    ["--chat", "--json-schema", write("s.json", '{"type":"object","properties":{"age":{"const":7}},"required":["age"]}')],
  ],
])("%s: stdout is the JSON value and nothing else", async (_, args) => {
  const { code, stdout } = await jamba(["run", "Mia is", ...args, "-n", "40"]);
  expect([code, Object.keys(JSON.parse(stdout)), stdout.trimEnd().includes("\n")]).toEqual([0, ["age"], false]);
});

test("with --n there is one value a line, or all in the document", async () => {
  const args = ["run", "Mia is", "--json-schema", '{"enum":["red","blue"]}', "--n", "3", "--seed", "1", "-t", "1"];
  const { stdout } = await jamba(args);
  const values = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(values).toEqual(expect.arrayContaining([expect.stringMatching(/^(red|blue)$/)]));
  expect(values.length).toBe(3);
  const { choices } = JSON.parse((await jamba([...args, "--json"])).stdout);
  expect(choices.map(({ text }: { text: string }) => JSON.parse(text))).toEqual(values);
});

test("a regular expression and a grammar bind the answer", async () => {
  const grammar = write("g.ebnf", 'root ::= "yes" | "no"\n');
  expect((await jamba(["run", "Mia is", "--regex", "[ab]{3}x", "-q"])).stdout).toMatch(/^[ab]{3}x\n$/);
  expect((await jamba(["run", "Mia is", "--grammar", grammar, "-q"])).stdout).toMatch(/^(yes|no)\n$/);
  const lark = write("g.lark", 'start: ANSWER\nANSWER: "yes" | "no"\n');
  expect((await jamba(["run", "Mia is", "--grammar", lark, "-q"])).stdout).toMatch(/^(yes|no)\n$/);
});

test("every sampling flag reaches the sampler: with the same seed each of them changes the text", async () => {
  const text = async (...args: string[]) =>
    (await jamba(["run", "Once upon a time", "-n", "12", "-s", "7", "-t", "1.5", "-q", ...args])).stdout;
  const plain = await text();
  expect(await text("--prompt-lookup", "--ignore-eos")).toBe(plain);
  for (const flags of [
    ["--top-k", "1"],
    ["--top-p", "0.3"],
    ["--min-p", "0.5"],
    ["--typical-p", "0.3"],
    ["--repetition-penalty", "3"],
    ["--frequency-penalty", "50"],
    ["--presence-penalty", "50"],
    ["--xtc-probability", "1", "--xtc-threshold", "0.05"],
    ["--logit-bias", "100=90"],
  ])
    expect(await text(...flags), flags.join(" ")).not.toBe(plain);
  const copy = ["run", "Mia ran to the mill. Mia ran to the mill. Mia ran to the", "-n", "6", "-q"];
  const dry = ["--dry-multiplier", "50", "--dry-allowed-length", "1", "--dry-base", "2", "--dry-last-n", "500"];
  expect((await jamba([...copy, ...dry])).stdout).not.toBe((await jamba(copy)).stdout);
});

test("--logprobs, calls of tools and stop texts are in the document", async () => {
  const tools =
    '[{"type":"function","function":{"name":"find","parameters":{"type":"object","properties":{"what":{"enum":["fox"]}},"required":["what"]}}}]';
  const args = ["run", "Where is the fox?", "--tools", tools, "--tool-choice", "find", "-n", "60"];
  const document = JSON.parse((await jamba([...args, "--json", "--logprobs", "2"])).stdout);
  expect(document).toMatchObject({ finishReason: "tool-calls", toolCalls: [{ name: "find", arguments: { what: "fox" } }] });
  expect(document.logprobs[0].top.length).toBe(2);
  const { stdout } = await jamba([...args, "-q"]);
  expect(JSON.parse(stdout.trim())).toEqual({ name: "find", arguments: { what: "fox" } });
  expect(JSON.parse((await jamba(["run", "--stop", " girl", "--json"])).stdout)).toMatchObject({ text: ", a little", stopString: " girl" });
});

test("what of a schema is not enforced is a note, by the flag, and in the document", async () => {
  const args = ["run", "Mia is", "--json-schema", '{"type":"string","maxLength":9,"format":"colour"}', "-n", "60"];
  const { code, stderr } = await jamba(args);
  expect([code, stderr]).toEqual([0, expect.stringMatching(/^ {2}note: --json-schema\.format: not enforced\n/)]);
  expect(JSON.parse((await jamba([...args, "--json"])).stdout).notEnforced).toEqual(["format.schema.format"]);
  expect((await jamba([...args, "-q"])).stderr).toBe("");
});

test("a saved conversation goes on where it was", async () => {
  const file = join(root, "talk.state");
  const first = await jamba(["run", "Who are you?", "--system", "Be kind.", "--save", file, "-n", "12", "-q"]);
  expect([first.code, existsSync(file)]).toEqual([0, true]);
  expect(first.stdout).toMatch(/^\S/);
  const { usage } = JSON.parse((await jamba(["run", "Who is Mia?", "--load", file, "-n", "4", "--json"])).stdout);
  expect(usage.cachedTokens).toBeGreaterThan(20);
});

test.each([40, 61, 80])("what an answer took is told in whole words at %i columns", async (columns) => {
  const { stderr } = await jamba(["run", "hi", "-n", "2"], { tty: true, columns, env: { NO_COLOR: "1" } });
  const lines = stderr
    .slice(stderr.search(/\d+ read, /) - 2)
    .trimEnd()
    .split("\n");
  expect(lines.map((line) => line.trim()).join(" ")).toMatch(/^\d+ read, 2 written .*; tiny on (cpu|wasm|reference), bf16 weights/);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
});
