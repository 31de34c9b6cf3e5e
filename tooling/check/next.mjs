// A route handler of Next that answers with the small model, built by webpack and by Turbopack, in a project whose packages pnpm keeps apart:
// the bundle runs on the native kernels, and without them on WebAssembly and says so. Fetches Next. After a build:
//   node tooling/check/next.mjs

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { packAll, pnpm } from "./packages.mjs";

const versions = { next: "16.4.6", react: "19.3.1", "react-dom": "19.3.1" };
/** Until the server answers, in seconds. */
const patience = 120;

const route = `import { loadModel } from "jamba";

const heard = [];
const loading = loadModel("tiny", { onWarning: (warning) => heard.push(warning) });
export const dynamic = "force-dynamic";

export async function GET() {
  const model = await loading;
  const { text } = await model.generate("Once upon a time", { maxTokens: 8, temperature: 0 });
  return Response.json({ kind: model.device.kind, text, heard });
}
`;
const layout = "export default ({ children }) => <html><body>{children}</body></html>;\n";
const text = ", a little girl named Ines lived near";

const folder = mkdtempSync(join(tmpdir(), "next-"));
const app = join(folder, "app");
const wrong = [];
try {
  mkdirSync(join(folder, "tarballs"));
  mkdirSync(join(app, "app/api/story"), { recursive: true });
  const tarballs = Object.fromEntries(packAll(join(folder, "tarballs")).map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]));
  const dependencies = { ...versions, jamba: tarballs.jamba, "@jamba/tiny-model": tarballs["@jamba/tiny-model"] };
  writeFileSync(join(app, "package.json"), JSON.stringify({ private: true, dependencies, pnpm: { overrides: tarballs } }));
  writeFileSync(join(app, "app/api/story/route.js"), route);
  writeFileSync(join(app, "app/layout.js"), layout);
  writeFileSync(join(app, "app/page.js"), "export default () => <p>A story is at /api/story</p>;\n");
  const env = { ...process.env, NODE_PATH: "", NEXT_TELEMETRY_DISABLED: "1", NODE_ENV: "production" };
  const [command, ...prefix] = pnpm();
  execFileSync(command, [...prefix, "install", "--prefer-offline", "--ignore-scripts"], { cwd: app, env, stdio: "inherit" });

  const next = join(app, "node_modules/next/dist/bin/next");
  const store = join(app, "node_modules/.pnpm");
  const ours = readdirSync(store).find((name) => name.startsWith("@jamba+backend-cpu"));
  const prebuilds = join(store, ours, "node_modules/@jamba/backend-cpu/prebuilds");
  const isBuilt = existsSync(join(prebuilds, `${process.platform}-${process.arch}`, "jamba.node"));
  if (!isBuilt) console.log("skipped: no native kernels were built; is there a C++ compiler?");

  for (const bundler of ["webpack", "turbopack"]) {
    rmSync(join(app, ".next"), { recursive: true, force: true });
    execFileSync(process.execPath, [next, "build", `--${bundler}`], { cwd: app, env, stdio: "inherit" });
    if (isBuilt) {
      expectSame(`${bundler}, native`, await answerOf(next, env), { kind: "cpu", text, heard: [] });
      renameSync(prebuilds, `${prebuilds}.away`);
    }
    const { heard = [], ...without } = await answerOf(next, env);
    expectSame(`${bundler}, no addon`, without, { kind: "wasm", text });
    const said = /^cpu can't be used: .*build them with a C\+\+ compiler.*; wasm runs instead, which takes about/;
    if (heard.length !== 1 || !said.test(heard[0]))
      wrong.push(`${bundler}, no addon: expected one warning, found ${JSON.stringify(heard)}`);
    if (isBuilt) renameSync(`${prebuilds}.away`, prebuilds);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const line of wrong) console.error(`wrong: ${line}`);
if (wrong.length === 0) console.log(`ok: Next ${versions.next}, webpack and Turbopack`);
process.exitCode = wrong.length === 0 ? 0 : 1;

function expectSame(what, found, expected) {
  const [a, b] = [found, expected].map((one) => JSON.stringify(one));
  if (a !== b) wrong.push(`${what}: expected ${b}, found ${a}`);
  else console.log(`${what}: ${a}`);
}

/** What a server that was just started says. */
async function answerOf(next, env) {
  const port = await freePort();
  const server = spawn(process.execPath, [next, "start", "-H", "127.0.0.1", "-p", String(port)], { cwd: app, env, stdio: "inherit" });
  const ended = new Promise((resolve) => server.once("exit", resolve));
  try {
    for (let second = 0; ; second++) {
      const response = await fetch(`http://127.0.0.1:${port}/api/story`).catch(() => undefined);
      if (response?.ok) return await response.json();
      if (response || second >= patience || server.exitCode !== null) return { status: response?.status ?? "none" };
      await sleep(1000);
    }
  } finally {
    server.kill();
    await ended;
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
