// The built command in a real terminal, which tmux stands in for: keys go in, and what a person would see comes out.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";

const here = fileURLToPath(new URL("..", import.meta.url));
const program = join(here, "dist/main.js");
/** A server of its own for each terminal: one that goes may still be there when the next one comes. */
let [socket, opened] = ["", 0];
const root = mkdtempSync(join(tmpdir(), "jamba-cli-terminal-"));

const changedAt = (folder: string) =>
  Math.max(
    ...readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
      .map((name) => statSync(join(folder, name)).mtimeMs),
  );

function absent(): string | undefined {
  if (spawnSync("tmux", ["-V"]).status !== 0) return "no tmux on this machine";
  if (!existsSync(program)) return "apps/cli is not built; run pnpm build";
  if (statSync(program).mtimeMs < changedAt(join(here, "src"))) return "apps/cli/dist is older than its sources; run pnpm build";
  return undefined;
}

const tmux = (...args: string[]) => execFileSync("tmux", ["-L", socket, "-f", "/dev/null", ...args], { encoding: "utf8" });

interface Screen {
  /** @param escapes with what sets colours */
  text(escapes?: boolean): string;
  keys(...keys: string[]): void;
  /** Waits until the screen has it. */
  sees(what: RegExp): Promise<string>;
}

function open(command: string, { columns = 80, env = {} }: { columns?: number; env?: Record<string, string> } = {}): Screen {
  const variables = Object.entries({ TERM: "xterm-256color", ...env }).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
  const line = `${command.replaceAll("jamba ", `'${process.execPath}' '${program}' `)}; echo EXIT $?; sleep 100`;
  socket = `jamba-test-${process.pid}-${opened++}`;
  tmux("new-session", "-d", "-s", "one", "-x", String(columns), "-y", "24", ...variables, "bash", "-c", line);
  const text = (escapes = false) => tmux("capture-pane", "-p", ...(escapes ? ["-e"] : []), "-t", "one");
  return {
    text,
    keys: (...keys) => void tmux("send-keys", "-t", "one", ...keys),
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
    await screen.sees(/EXIT 130/);
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

  test("serve shows one line, and leaves with 0 at Ctrl-C", async () => {
    const screen = open("jamba serve --port 0", { columns: 60 });
    await screen.sees(/Ctrl-C stops\n {2}0 running, 0 requests {2}0\.0 tokens\/s/);
    screen.keys("C-c");
    expect(await screen.sees(/EXIT 0/)).not.toMatch(/running/);
  });
});
