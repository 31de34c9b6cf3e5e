// The built command in a real terminal, which tmux stands in for: keys go in, and what a person would see comes out.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { notBuilt, program } from "./built.ts";

/** A server of its own for each terminal: one that goes may still be there when the next one comes. */
let [socket, opened] = ["", 0];
const root = mkdtempSync(join(tmpdir(), "jamba-cli-terminal-"));

function absent(): string | undefined {
  return spawnSync("tmux", ["-V"]).status === 0 ? notBuilt() : "no tmux on this machine";
}

const tmux = (...args: string[]) => execFileSync("tmux", ["-L", socket, "-f", "/dev/null", ...args], { encoding: "utf8" });

interface Screen {
  /** @param escapes with what sets colours */
  text(escapes?: boolean): string;
  keys(...keys: string[]): void;
  /** As a terminal does, with marks around it where the program has asked for them. */
  paste(text: string): void;
  /** Waits until the screen has it. */
  sees(what: RegExp): Promise<string>;
}

function open(command: string, { columns = 80, env = {} }: { columns?: number; env?: Record<string, string> } = {}): Screen {
  const variables = Object.entries({ TERM: "xterm-256color", XDG_STATE_HOME: mkdtempSync(join(root, "state-")), ...env }).flatMap(
    ([name, value]) => ["-e", `${name}=${value}`],
  );
  const line = `${command.replaceAll("jamba ", `'${process.execPath}' '${program}' `)}; echo EXIT $?; sleep 100`;
  socket = `jamba-test-${process.pid}-${opened++}`;
  tmux("new-session", "-d", "-s", "one", "-x", String(columns), "-y", "24", ...variables, "bash", "-c", line);
  const text = (escapes = false) => tmux("capture-pane", "-p", ...(escapes ? ["-e"] : []), "-t", "one");
  return {
    text,
    keys: (...keys) => void tmux("send-keys", "-t", "one", ...keys),
    paste(text) {
      tmux("set-buffer", "--", text);
      tmux("paste-buffer", "-p", "-t", "one");
    },
    async sees(what) {
      const until = performance.now() + 10_000;
      while (performance.now() < until) {
        if (what.test(text())) return text();
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
      throw new Error(`expected ${what} on the screen, found\n${text()}`);
    },
  };
}

describe("in a terminal", () => {
  beforeEach(({ skip }) => {
    const reason = absent();
    if (reason) skip(reason);
  });
  afterEach(() => void spawnSync("tmux", ["-L", socket, "kill-server"]));
  afterAll(() => rmSync(root, { recursive: true }));

  test("Ctrl-C stops the answer, and the conversation goes on; at the prompt it leaves with 130", async () => {
    const screen = open("jamba chat --ignore-eos -n 100000 --context-length 100000");
    await screen.sees(/\/help\n>$/m);
    screen.keys("Write a story.", "Enter");
    await screen.sees(/> Write a story\.\n\S.*\S{3}/);
    screen.keys("C-c");
    await screen.sees(/written \(cancelled\)[\s\S]*\n> *$/m);
    screen.keys("/tokens", "Enter");
    await screen.sees(/\/tokens\n {2}kept[\s\S]*\n> *$/m);
    screen.keys("not sent", "C-c");
    await screen.sees(/\n> *\n*$/);
    screen.keys("C-c");
    await screen.sees(/EXIT 130/);
  });

  test("a second Ctrl-C while it answers leaves with 130", async () => {
    const screen = open("jamba chat --ignore-eos -n 100000 --context-length 100000");
    await screen.sees(/^>$/m);
    screen.keys("Write a story.", "Enter");
    await screen.sees(/> Write a story\.\n\S.*\S{3}/);
    screen.keys("C-c", "C-c");
    await screen.sees(/EXIT\s+1\s?3\s?0/); // it may stand at the end of a line
  });

  test("run stops at Ctrl-C with what it has", async () => {
    const screen = open("jamba run --ignore-eos -n 100000 --context-length 100000");
    await screen.sees(/Once upon a time, a little/);
    screen.keys("C-c");
    expect(await screen.sees(/EXIT 130/)).toMatch(/Once upon a time, a little[\s\S]*\(cancelled\)/);
  });

  test.each([40, 200])("at %i columns no bar breaks, and the arrow key brings a question back", async (columns) => {
    const screen = open("jamba chat -n 6", { columns });
    await screen.sees(/^>$/m);
    screen.keys("Who are you?", "Enter");
    await screen.sees(/^ {2}kept +░* ?0 of \d+ tokens\n {2}context [█-▏]*░* ?\d+ of 262144 tokens\n> *$/m);
    screen.keys("Up", "Enter");
    await screen.sees(/^ {2}kept +[█-▏]+░* \d+ of \d+ tokens\n[^\n]*\n> *$/m);
    expect(screen.text().match(/Who are you\?/g)?.length).toBe(2);
  });

  test("there are colours, and none with NO_COLOR", async () => {
    const colour = "\u001b[";
    const plain = open("jamba inspect", { env: { NO_COLOR: "1" } });
    await plain.sees(/EXIT 0/);
    expect(plain.text(true)).not.toContain(colour);
    tmux("kill-server");
    const coloured = open("jamba inspect");
    await coloured.sees(/EXIT 0/);
    expect(coloured.text(true)).toContain(colour);
  });

  test("what is piped is the text alone", async () => {
    const file = join(root, "text");
    const screen = open(`jamba run 'Once upon a time' -n 8 | cat > ${file}; jamba chat -n 12 <<< 'Who are you?' >> ${file}`);
    await screen.sees(/EXIT 0/);
    expect(readFileSync(file, "utf8")).toBe(", a little girl named Ines lived near\nI am a very small Jamba mo\n");
  });

  /** What was said in a conversation that ends with Ctrl-D, each message whole. */
  async function said(file: string, screen: Screen): Promise<string[]> {
    screen.keys("C-d");
    await screen.sees(/EXIT 0/);
    const { messages } = JSON.parse(readFileSync(file, "utf8")) as { messages: { role: string; content: string }[] };
    return messages.filter(({ role }) => role === "user").map(({ content }) => content);
  }
  const document = () => join(mkdtempSync(join(root, "chat-")), "document.json");

  test("what is pasted is one message, with every line as it was", async () => {
    const file = document();
    const screen = open(`jamba chat --json -n 2 > ${file}`);
    await screen.sees(/^>$/m);
    const texts = ["one\ntwo\n\nthree", "  if a:\n\tb \\\n  c", '"""\nnot closed', "/etc/hosts\nis a file", "é 数学 👩‍👩‍👧\nend"];
    for (const [i, text] of texts.entries()) {
      screen.paste(text);
      await screen.sees(new RegExp(`${text.split("\n").at(-1)!.trim()}`));
      screen.keys("Enter");
      await screen.sees(/^>$(?![\s\S]*^>$)/m);
      if (i === 0) expect(screen.text()).toMatch(/^> one\ntwo\n\nthree\n>$/m);
    }
    screen.paste("x\ny");
    screen.keys("z", "Enter");
    await screen.sees(/^yz\n> *$/m);
    expect(await said(file, screen)).toEqual([...texts, "x\nyz"]);
  });

  test("a line goes on after a backslash, Alt-Enter and quotes, and can be edited as a whole", async () => {
    const file = document();
    const screen = open(`jamba chat --json -n 2 > ${file}`);
    await screen.sees(/^>$/m);
    screen.keys("one\\", "Enter", "two", "M-Enter", "three", "Up", "Up", "!", "Enter");
    // From version 24 on node marks lines that go on.
    await screen.sees(/^> one!\n(\| )?two\n(\| )?three\n> *$/m);
    screen.keys('"""', "Enter", "four", "Enter", 'five"""', "Enter");
    await screen.sees(/^five"""\n> *$/m);
    screen.keys("Up", "C-c");
    await screen.sees(/^five"""\n> *\n*$/m);
    screen.keys("six", "Enter");
    await screen.sees(/^> six\n> *$/m);
    expect(await said(file, screen)).toEqual(["one!\ntwo\nthree", "four\nfive", "six"]);
  });

  test("what was typed is there in the next conversation, and is found by a part of it", async () => {
    const state = mkdtempSync(join(root, "history-"));
    const first = open("jamba chat --json -n 2 > /dev/null", { env: { XDG_STATE_HOME: state } });
    await first.sees(/^>$/m);
    for (const text of ["Who is the fox?", "Who is Mia?", "one\\"]) {
      first.keys(text, "Enter");
      if (!text.endsWith("\\")) await first.sees(new RegExp(`${text.replace("?", "\\?")}\n> *$`, "m"));
    }
    first.keys("two", "Enter");
    await first.sees(/^two\n> *$/m);
    first.keys("C-d");
    await first.sees(/EXIT 0/);
    tmux("kill-server");
    expect(statSync(join(state, "jamba/history")).mode & 0o777).toBe(0o600);
    const file = document();
    const screen = open(`jamba chat --json -n 2 > ${file}`, { env: { XDG_STATE_HOME: state } });
    await screen.sees(/^>$/m);
    screen.keys("Up");
    await screen.sees(/^> one\ntwo$/m);
    screen.keys("Enter");
    await screen.sees(/^two\n> *$/m);
    screen.keys("C-r", "Who");
    await screen.sees(/search "Who": Who is Mia\?/);
    screen.keys("C-r");
    await screen.sees(/search "Who": Who is the fox\?/);
    screen.keys("Enter");
    await screen.sees(/^> Who is the fox\?\n> *$/m);
    screen.keys("begun", "C-r", "zzz");
    await screen.sees(/nothing more "zzz": begun/);
    screen.keys("C-g");
    await screen.sees(/^> begun$/m);
    screen.keys("C-c");
    await screen.sees(/^> *\n*$/m);
    expect(await said(file, screen)).toEqual(["one\ntwo", "Who is the fox?"]);
  });

  test("what is typed while an answer comes waits for the next prompt", async () => {
    const file = document();
    const screen = open(`jamba chat --json -n 40 > ${file}`);
    await screen.sees(/^>$/m);
    screen.keys("one", "Enter", "two", "Enter", "three");
    await screen.sees(/^> one\n> two\n> three$/m);
    screen.keys("Enter");
    await screen.sees(/^> three\n> *$/m);
    expect(await said(file, screen)).toEqual(["one", "two", "three"]);
  });

  test.each([40, 61])("at %i columns an answer is broken between words, also after the width changes", async (columns) => {
    const plain = join(root, `plain-${columns}`);
    const ask = "Write a story about Mia and a fox.";
    const written = open(`jamba chat -q -n 60 <<< '${ask}' > ${plain}`);
    await written.sees(/EXIT 0/);
    tmux("kill-server");
    const words = readFileSync(plain, "utf8").trim().split(/\s+/);
    const screen = open("jamba chat -q -n 60", { columns });
    await screen.sees(/^>$/m);
    screen.keys(ask, "Enter");
    await screen.sees(/\n> *$/m);
    const shown = (await screen.sees(/fox\.\n[\s\S]*\n> *\n*$/)).split("\n");
    const answer = shown.slice(
      shown.findIndex((line) => line.endsWith("fox.")) + 1,
      shown.findLastIndex((line) => line.startsWith(">")),
    );
    expect(answer.length).toBeGreaterThan(2);
    expect(answer.flatMap((line) => line.split(" "))).toEqual(words);
    tmux("resize-window", "-t", "one", "-x", "30");
    screen.keys("/reset", "Enter", ask, "Enter");
    await screen.sees(/\/reset\n> Write a story about Mia and\na fox\.\n([^>\n]+\n)+> *\n*$/);
    const narrow = screen.text().split("/reset\n")[1].split("\n").slice(2, -1);
    const lines = narrow.slice(0, narrow.indexOf(">"));
    expect(lines.flatMap((line) => line.split(" "))).toEqual(words);
  });

  test("without a command it asks which model, and goes on with what is chosen", async () => {
    const screen = open("jamba ", { columns: 100, env: { HF_HUB_OFFLINE: "1", HF_HUB_CACHE: join(root, "none") } });
    const shown = await screen.sees(/^\? Which model\? \S+ .B of memory are free here$/m);
    expect(shown).toMatch(/^❯ 1\. tiny +13\.\d MB {2}bf16$/m);
    expect(shown).toMatch(/^ on the hub; \* as published, for the hub did not tell$/m);
    expect(shown).toMatch(/^ {2}2\. Jamba2-3B +6\.1 GB {2}(fits( as \w+)?|does not fit) \*$/m);
    screen.keys("Down");
    await screen.sees(/^❯ 2\. Jamba2-3B/m);
    screen.keys("Enter");
    await screen.sees(/^\? ai21labs\/AI21-Jamba2-3B\n❯ 1\. download it, then chat$/m);
    screen.keys("Escape");
    await screen.sees(/^\? Which model\?/m);
    screen.keys("1", "Enter");
    await screen.sees(/^\? tiny\n❯ 1\. chat$/m);
    screen.keys("Enter");
    await screen.sees(/^tiny on .*\/help\n>$/m);
    screen.keys("C-d");
    await screen.sees(/EXIT 0/);
  });

  test.each([
    ["Escape", 0],
    ["C-c", 130],
  ])("there %s leaves with %i", async (key, code) => {
    const screen = open("jamba ", { env: { HF_HUB_OFFLINE: "1", HF_HUB_CACHE: join(root, "none") } });
    await screen.sees(/^\? Which model\?/m);
    screen.keys(key);
    await screen.sees(new RegExp(`EXIT ${code}\\n`));
  });

  test("rm asks before it takes a model away", async () => {
    const cache = mkdtempSync(join(root, "cache-"));
    const snapshot = join(cache, "models--me--x/snapshots", "1".repeat(40));
    mkdirSync(snapshot, { recursive: true });
    writeFileSync(join(snapshot, "config.json"), "{}\n");
    const screen = open("jamba rm me/x; jamba rm me/x; jamba rm me/x", { env: { HF_HUB_CACHE: cache } });
    const question = "remove me/x \\(3 B\\)\\? \\[y/N\\]";
    await screen.sees(new RegExp(`^${question}$`, "m"));
    screen.keys("Enter");
    await screen.sees(new RegExp(`^${question}\\n${question}$`, "m"));
    screen.keys("C-c");
    await screen.sees(new RegExp(`^(${question}\\n){2}${question}$`, "m"));
    expect(readdirSync(cache)).toEqual(["models--me--x"]);
    screen.keys("y", "Enter");
    await screen.sees(/me\/x: 3 B free again\nEXIT 0/);
    expect(readdirSync(cache)).toEqual([]);
  });

  test("serve shows one line, and leaves with 0 at Ctrl-C", async () => {
    const screen = open("jamba serve --port 0", { columns: 60 });
    await screen.sees(/Ctrl-C stops\n {2}0 running, 0 requests {2}0\.0 tokens\/s/);
    screen.keys("C-c");
    expect(await screen.sees(/EXIT 0/)).not.toMatch(/running/);
  });
});
