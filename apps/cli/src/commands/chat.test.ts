// Every command of a conversation, over stdin as a script would give them.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { jamba, type Options } from "../../test/jamba.ts";

const root = mkdtempSync(join(tmpdir(), "jamba-cli-chat-"));
afterAll(() => rmSync(root, { recursive: true }));

const talk = (lines: string[], args: string[] = [], options: Options = {}) =>
  jamba(["chat", "-n", "8", ...args], { input: `${lines.join("\n")}\n`, ...options });
async function documentOf(lines: string[], args: string[] = []) {
  const { code, stdout } = await talk(lines, ["--json", ...args]);
  expect(code).toBe(0);
  return JSON.parse(stdout);
}
const said = ({ messages }: { messages: { role: string; content: string }[] }) =>
  messages.filter(({ role }) => role !== "assistant").map(({ content }) => content);

test("a fork goes on by itself, and /switch goes back", async () => {
  const lines = ["a", "/fork other", "b", "/switch 1", "c"];
  expect(said(await documentOf(lines))).toEqual(["a", "c"]);
  expect(said(await documentOf([...lines, "/switch other"]))).toEqual(["a", "b"]);
  const { stderr } = await talk(["/fork x", "/fork x", "/fork", "/switch y", "/switch"]);
  expect(stderr.match(/^ {2}\S.*/gm)).toEqual([
    "  in x, one of 1, x",
    "  /fork: expected a new name, found x, which is one of 1, x",
    "  in 3, one of 1, x, 3",
    "  /switch: expected one of 1, x, 3, found y",
    "  in 3, one of 1, x, 3",
  ]);
});

test("/rewind forgets questions with their answers", async () => {
  expect(said(await documentOf(["a", "b", "c", "/rewind", "d"]))).toEqual(["a", "b", "d"]);
  expect(said(await documentOf(["a", "b", "c", "/rewind 2", "d"], ["--system", "s"]))).toEqual(["s", "a", "d"]);
  for (const count of ["0", "2", "x", "1.5"]) {
    const { stderr, code } = await talk(["a", `/rewind ${count}`]);
    expect([code, stderr]).toEqual([0, expect.stringContaining(`/rewind: expected a number of questions, at most 1, found ${count}\n`)]);
  }
});

test("/retry gives another answer to the same question, each time another", async () => {
  const found = await documentOf(["Write a story.", "/retry", "/retry"], ["-t", "1", "-s", "3", "-n", "20"]);
  expect([found.messages.length, found.answers.length]).toEqual([2, 3]);
  const texts = found.answers.map(({ text }: { text: string }) => text);
  expect(new Set(texts).size).toBe(3);
  expect(found.messages[1].content).toBe(texts[2]);
  const { stderr } = await talk(["/retry", "Hello", "/retry"]);
  expect(stderr).toMatch(/\/retry: expected an answer[\s\S]*at temperature 0\.8/);
});

test("a retry that is stopped before its first word leaves the answer that was there", async () => {
  let stopped = false;
  const lines = ["Who are you?", "/retry", "Who is Mia?"];
  const { stdout, stderr } = await talk(lines, ["--json"], {
    onError: (text, interrupt) => {
      if (!stopped && text.includes("at temperature")) interrupt();
      stopped = true;
    },
  });
  const plain = await documentOf(["Who are you?", "Who is Mia?"]);
  expect([stopped, stderr.includes("jamba:"), JSON.parse(stdout).messages]).toEqual([true, false, plain.messages]);
  expect(JSON.parse(stdout).answers.length).toBe(2);
});

test("/system changes the first message of the same conversation, /reset keeps only that", async () => {
  expect(said(await documentOf(["a", "/system t", "b"], ["--system", "s"]))).toEqual(["t", "a", "b"]);
  expect(said(await documentOf(["a", "/system t"]))).toEqual(["t", "a"]);
  expect(said(await documentOf(["a", "/reset", "b"], ["--system", "s"]))).toEqual(["s", "b"]);
});

test("what /save wrote goes on with /load and --load, and nothing is read twice", async () => {
  const file = join(root, "with a space.state");
  const saved = await documentOf(["Who are you?", `/save ${file}`]);
  expect(existsSync(file)).toBe(true);
  for (const found of [await documentOf(["x", `/load ${file}`, "And now?"]), await documentOf(["And now?"], ["--load", file])]) {
    expect(found.messages.slice(0, 2)).toEqual(saved.messages);
    expect(found.answers.at(-1).result.usage.cachedTokens).toBeGreaterThan(14);
  }
});

test("documents are answered from, where the template shows them", async () => {
  const file = join(root, "Clara.txt");
  writeFileSync(file, "Once upon a time, a girl named Clara lived near the mill. She felt calm.");
  const [without, with_] = [await documentOf(["How did Clara feel?"]), await documentOf(["How did Clara feel?"], ["--file", file])];
  const tokens = (found: typeof without) => found.answers[0].result.usage.promptTokens;
  expect(tokens(with_)).toBeGreaterThan(tokens(without) + 15);
});

test("what is no command is answered with help and never reaches the model", async () => {
  const { stdout, stderr } = await talk(["/rewnd", "/etc/hosts is a file", "/", "/__proto__", "/constructor"]);
  expect(stdout).toBe("");
  expect(stderr.match(/expected one of these/g)?.length).toBe(5);
  expect(stderr).toMatch(/did you mean \/rewind\?/);
  const { stdout: document } = await talk(["/rewnd", "/toString"], ["--json"]);
  expect(JSON.parse(document).messages).toEqual([]);
});

test("a file that can't be had ends a script with 1, and not a conversation", async () => {
  expect(await talk(["/load /no/such", "Who are you?"])).toMatchObject({
    code: 1,
    stdout: "",
    stderr: expect.stringMatching(/no such file/),
  });
});

test.each([40, 80, 200])("/stats and /tokens fit %i columns, without colours where NO_COLOR says so", async (columns) => {
  const { stderr } = await talk(["Who are you?", "/stats", "Who is Mia?", "/tokens"], ["-q"], {
    tty: true,
    columns,
    env: { NO_COLOR: "1" },
  });
  for (const line of stderr.split("\n")) expect(line.length).toBeLessThanOrEqual(columns);
  expect(stderr).not.toContain("\u001b");
  expect(stderr.match(/^ {2}(kept|context) +[█▏▎▍▌▋▊▉]*░* ?\d+ of \d+ tokens$/gm)?.length).toBe(4);
  expect(stderr).toMatch(/0 % of\s+them kept[\s\S]*tokens\/s[\s\S]*memory: weights/);
});
