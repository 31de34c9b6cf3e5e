// Makes terminal.svg, the README's picture of a conversation: a real one, typed into tmux and drawn character by character.
// Usage: node apps/cli/scripts/record.mjs OUT.svg (after pnpm build; needs tmux).

import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const [columns, rows] = [92, 22];
const program = fileURLToPath(new URL("../dist/main.js", import.meta.url));
const socket = `jamba-record-${process.pid}`;
const tmux = (...args) => execFileSync("tmux", ["-L", socket, "-f", "/dev/null", ...args], { encoding: "utf8" });

/** What is typed, once the screen has what stands before it. */
const script = [
  [/^>$/m, "Write a story about Mia and a fox."],
  [/^ {2}context/m, "/fork other"],
  [/one of 1, other/, "Who is Mia?"],
  [/Who is Mia\?\n[\s\S]*context/, "/switch 1"],
  [/in 1, one of/, undefined],
];

async function record() {
  const command = `'${process.execPath}' '${program}' chat tiny --max-tokens 70`;
  tmux(
    "new-session",
    "-d",
    "-s",
    "one",
    "-x",
    String(columns),
    "-y",
    String(rows),
    "-e",
    "TERM=xterm-256color",
    "-e",
    "JAMBA_HISTORY=",
    "bash",
    "-c",
    command,
  );
  try {
    for (const [before, line] of script) {
      await until(() => before.test(tmux("capture-pane", "-p", "-t", "one")));
      if (line) tmux("send-keys", "-t", "one", line, "Enter");
    }
    return tmux("capture-pane", "-p", "-e", "-t", "one");
  } finally {
    spawnSync("tmux", ["-L", socket, "kill-server"]);
  }
}

async function until(isDone) {
  for (let tries = 0; !isDone(); tries++) {
    if (tries > 600) throw new Error("expected the next prompt within 30 seconds, found none");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const colours = { 31: "#ff7b72", 32: "#7ee787", 36: "#79c0ff" };
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Lines with the escapes of colours and dimness, as spans that stand on a grid whatever the font's width. */
function svgOf(screen) {
  const [cell, line, pad] = [8.4, 19, 16];
  const lines = screen.trimEnd().split("\n");
  let [colour, dim] = [undefined, false];
  const rows = lines.map((row, y) => {
    let x = 0;
    const spans = row.split("\u001b[").map((part, i) => {
      const end = i === 0 ? 0 : part.indexOf("m") + 1;
      for (const code of end === 0
        ? []
        : part
            .slice(0, end - 1)
            .split(";")
            .map(Number)) {
        if (code === 2) dim = true;
        else if (code === 22) dim = false;
        else if (code === 0) [colour, dim] = [undefined, false];
        else if (code === 39) colour = undefined;
        else colour = colours[code] ?? colour;
      }
      const text = part.slice(end);
      if (text === "") return "";
      const at = (pad + x * cell).toFixed(1);
      x += text.length;
      const style = `${colour ? ` fill="${colour}"` : ""}${dim ? ' opacity="0.65"' : ""}`;
      return `<text x="${at}" y="${pad + 14 + y * line}" textLength="${(text.length * cell).toFixed(1)}"${style}>${escaped(text)}</text>`;
    });
    return spans.join("");
  });
  const [width, height] = [Math.ceil(columns * cell + 2 * pad), lines.length * line + 2 * pad];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="A conversation with jamba chat">
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" fill="#e6edf3" xml:space="preserve">
${rows.filter(Boolean).join("\n")}
</g>
</svg>
`;
}

const [out] = process.argv.slice(2);
if (!out) throw new Error("expected the name of an .svg file, found none");
writeFileSync(out, svgOf(await record()));
