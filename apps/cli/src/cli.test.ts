import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { listDevices } from "jamba";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { jamba } from "../test/jamba.ts";

const fixture = fileURLToPath(new URL("../../../tooling/golden/fixtures/base", import.meta.url));

const commandNames =
  "run chat serve ps inspect download list rm prepare quantize tokenize schema score eval bench devices completion help version".split(" ");
const start = ", a little girl named Ines lived near";

describe("help", () => {
  test.each([[["--help"]], ...commandNames.map((name) => [[name, "--help"]])])("%j fits one screen", async (args) => {
    const { code, stdout } = await jamba(args);
    const lines = stdout.trimEnd().split("\n");
    expect(code).toBe(0);
    expect(lines.length).toBeLessThanOrEqual(24);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });

  test("without a command it is shown with exit code 2; --version is one line", async () => {
    expect(await jamba([])).toMatchObject({ code: 2, stdout: expect.stringMatching(/jamba run/) });
    for (const word of ["--version", "-v", "-V", "version"]) expect(await jamba([word])).toMatchObject({ code: 0, stdout: "1.2.3\n" });
    expect(await jamba(["version", "--json"])).toMatchObject({ code: 0, stdout: '{"version":"1.2.3"}\n', stderr: "" });
  });

  test.each([...commandNames, "model"])("jamba help %s", async (name) => {
    const { code, stdout, stderr } = await jamba(["help", name]);
    expect([code, stderr, stdout.length > 100 || name === "version"]).toEqual([0, "", true]);
    if (name !== "model") expect(stdout).toBe((await jamba([name, "--help"])).stdout);
    const lines = stdout.trimEnd().split("\n");
    expect([lines.length <= 24, lines.every((line) => line.length <= 80)]).toEqual([true, true]);
    expect(JSON.parse((await jamba(["help", name, "--json"])).stdout)).toEqual({ text: stdout });
  });

  test("jamba help alone is the whole list, and a command that is none is an error", async () => {
    const { stdout } = await jamba(["help"]);
    for (const name of commandNames) expect(stdout).toMatch(new RegExp(`^  jamba ${name}\\b`, "m"));
    expect(await jamba(["--help"])).toMatchObject({ code: 0, stdout });
    expect(await jamba(["help", "rnu"])).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/did you mean jamba run\?/) });
    expect(await jamba(["help", "run", "chat"])).toMatchObject({ code: 2, stderr: expect.stringMatching(/expected one command/) });
  });
});

test("devices says of each backend what it is or why not, in 80 columns", async () => {
  const { code, stdout } = await jamba(["devices"]);
  expect([code, stdout.match(/^(yes|no ) \w+ +\S/gm)?.length]).toEqual([0, 5]);
  for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  expect(stdout).toMatch(/^yes reference +JavaScript, plain loops, 1 thread$/m);
  // Which module, and how many threads.
  expect(stdout).toMatch(/^yes wasm +WebAssembly, .*, \d+ threads?\n +(simd128|relaxed|relaxed-dot): .*\n(?:.*\n)* +\d+ threads?: /m);
});

test("where the native kernels are missing, devices says how to have them, and an answer what ran instead", async () => {
  vi.stubEnv("JAMBA_CPU_ADDON", "/nowhere/jamba.node");
  const { stdout } = await jamba(["devices"]);
  expect(stdout.replace(/\s+/g, " ")).toMatch(/no cpu .*found none; build them with a C\+\+ compiler: node build-native\.mjs/);
  const { code, stderr } = await jamba(["run", "tiny", "Once upon a time", "--max-tokens", "2"]);
  // Once, where the model was loaded.
  expect([code, stderr]).toEqual([
    0,
    expect.stringMatching(/^ *note: cpu can't be used: [^\n]*; wasm runs instead, which takes about 2 to 3 times as long\n/),
  ]);
  expect(stderr.match(/can't be used/g)).toHaveLength(1);
  expect(stderr).toMatch(/tiny on wasm, /);
});

afterEach(() => vi.unstubAllEnvs());

describe("run", () => {
  test("text goes to stdout, what it took to stderr", async () => {
    const { code, stdout, stderr } = await jamba(["run", "tiny", "Once upon a time", "--max-tokens", "8"]);
    expect([code, stdout]).toEqual([0, `${start}\n`]);
    expect(stderr).toMatch(/5 read, 8 written \(length\).* (cpu|wasm|reference), bf16 weights/);
  });

  test("a device is taken as asked", async () => {
    const { stdout } = await jamba(["run", "Once upon a time", "-n", "1", "--backend", "reference", "--threads", "1", "--json"]);
    expect(JSON.parse(stdout).device).toMatchObject({ kind: "reference", threads: 1 });
  });

  test("--quiet leaves stderr empty; the prompt may come from stdin, and the model be left out", async () => {
    expect(await jamba(["run", "-n", "8", "--quiet"], { input: "Once upon a time\n" })).toMatchObject({
      code: 0,
      stdout: `${start}\n`,
      stderr: "",
    });
    expect(await jamba(["run", "Once", "upon a time", "-n", "8", "-q"])).toMatchObject({ stdout: `${start}\n` });
  });

  test("--ids on a checkpoint without tokenizer gives ids, as one document", async () => {
    const golden = readFileSync(`${fixture}/config.json`, "utf8");
    expect(golden).toContain('"vocab_size": 320');
    const { code, stdout, stderr } = await jamba(["run", fixture, "--ids", "1,5,9", "--max-tokens", "4", "--temperature", "0", "--json"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(Object.keys(JSON.parse(stdout))).toEqual(["text", "ids", "finishReason", "usage", "timings", "device"]);
    expect(JSON.parse(stdout)).toMatchObject({ ids: { length: 4 }, finishReason: "length", device: { features: expect.any(Array) } });
  });

  test("Ctrl-C ends the answer with exit code 130; a second one the program", async () => {
    let count = 0;
    const { code, stdout, exits } = await jamba(["run", "tiny", "-n", "500"], {
      onOutput: (_, interrupt) => {
        if (count++ < 2) interrupt();
      },
    });
    expect(code).toBe(130);
    expect(stdout.length).toBeGreaterThan(0);
    expect(exits).toEqual([130]);
  });

  test("on a terminal the prompt is shown, dim unless NO_COLOR says otherwise", async () => {
    const shown = await jamba(["run", "Once upon a time", "-n", "2"], { tty: true });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are what is looked for
    expect(shown.stdout.replaceAll(/\u001b\[22m(, a|\n)|\u001b\[2?2m/g, "$1")).toMatch(/^Once upon a time, a/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the same
    expect(shown.stdout).toMatch(/^\u001b\[2mOnce upon a.*\u001b\[2m time\u001b\[22m, a/);
    const plain = await jamba(["run", "Once upon a time", "-n", "2"], { tty: true, env: { NO_COLOR: "1" } });
    expect(plain.stdout).toMatch(/^Once upon a time, a/);
  });
});

describe("what is wrong with a command line", () => {
  test.each([
    [["fly"], 2, /fly: expected a command/],
    [["rnu"], 2, /did you mean jamba run\?$/m],
    [["serve", "--host", "0.0.0.0", "--port", "0"], 2, /--host: expected a loopback address or --api-key,/],
    [["serve", "--port", "x"], 2, /--port: expected a number/],
    [["serve", "--api-key", ""], 2, /--api-key: expected a key/],
    [["serve", "--api-key-file", "/no/such"], 2, /--api-key-file: expected a text file/],
    [["serve", "--threads", "0", "--port", "0", "-q"], 2, /threads: expected a positive integer/],
    [["chat", "tiny", "Hello"], 2, /expected a model at most/],
    [["chat", "--load", "x", "--system", "y"], 2, /--load: expected neither/],
    [["chat", "--load", "/no/such"], 1, /no such file/],
    [["completion"], 2, /expected bash, zsh or fish, found none/],
    [["eval"], 2, /expected a task or a file of questions/],
    [["eval", `${fixture}/config.json`], 2, /expected a task or a file of questions/],
    [["run", "--temprature", "1"], 2, /did you mean --temperature\?/],
    [["run", "--qqqq"], 2, /see --help/],
    [["run", "--regex", "a", "--json-schema", "{}"], 2, /expected one of --json-schema/],
    [["run", "--json-schema", "{"], 2, /--json-schema: expected JSON/],
    [["run", "--json-schema", "/no/such"], 2, /--json-schema: expected a text file/],
    [["run", "--json-schema", '{"type":7}'], 2, /type/],
    [["run", "--logit-bias", "x"], 2, /--logit-bias: expected a token id/],
    [["run", "--xtc-threshold", "0.5"], 2, /--xtc-threshold: expected --xtc-probability beside it/],
    [["run", "--ids", "1", "--file", "x"], 2, /found --file/],
    [["run", "--load", "x", "--system", "y", "z"], 2, /--system: expected it where/],
    [["run", "Mia is", "--json-schema", '{"type":"object"}', "-n", "1", "-q"], 1, /\[CUT\] --json-schema: expected a whole JSON value/],
    [["run", "--max-token", "3"], 2, /did you mean --max-tokens/],
    [["run", "--max-tokens", "x"], 2, /--max-tokens: expected a number/],
    [["run", "--temperature", "-1"], 2, /--temperature: expected/],
    [["run", "hi", "--n", "0"], 2, /\] --n: expected/],
    [["run", "hi", "--top-p", "9"], 2, /--top-p: expected a number/],
    [["run", "hi", "--threads", "0"], 2, /--threads: expected/],
    [["run", "hi", "--dtype", "q9"], 2, /--dtype: expected one of auto/],
    [["run", "hi", "--context-length", "999999999"], 2, /--context-length: expected at most the model's/],
    [["run", "one two three four", "--context-length", "2"], 1, /at most --context-length = 2 tokens.*a larger --context-length/],
    [["run", "hi", "--regex", "("], 2, /--regex: expected a regular expression/],
    [["run", "hi", "--json-schema", '{"type":7}'], 2, /--json-schema\.type: expected/],
    [["run", "hi", "--dry-base", "2"], 2, /--dry-base: expected --dry-multiplier beside it/],
    [["run", "hi", "--logprobs", "x"], 2, /--logprobs: expected a number/],
    [["run", "hi", "--logprobs", "999"], 2, /--logprobs: expected an integer/],
    [["download", "a/b", "--cache-dir", ""], 2, /--cache-dir: expected a text/],
    [["serve", "--parallel", "0", "--port", "0", "-q"], 2, /--parallel: expected a positive integer/],
    [["serve", "--port", "99999", "-q"], 2, /--port: expected an integer in \[0, 65535\], found 99999/],
    [["serve", "--timeout", "1e8", "--port", "0", "-q"], 2, /--timeout: expected seconds from 0\.1 to 24 days, found 1e8/],
    [["serve", "--max-queue", "-1", "--port", "0", "-q"], 2, /--max-queue: expected an integer in \[1, \d+\], found -1/],
    [["run", "--ids", "1,x"], 2, /--ids: expected token ids/],
    [["run", "--backend", "gpu"], 2, /"gpu"/],
    [["run", "--backend", "cuda"], 1, /cuda: .*expected (an addon|NVIDIA's driver)/],
    [["run", fixture], 2, /expected a prompt/],
    [["run", "./no/such/model", "x", "--ids", "1"], 2, /./],
    [["inspect", "no-such-folder"], 2, /expected a model/],
    [["inspect", "tiny", "--memory", "much"], 2, /--memory: expected a size such as 80GB/],
    [["inspect", "tiny", "--batch", "0"], 2, /batch: expected a positive integer/],
    [["inspect", "./no/such/config.json"], 1, /expected a config\.json that can be read/],
    [["inspect", "tiny", "--backend", "reference", "--dtype", "q4"], 1, /expected auto or one of f32/],
    [["score", "--prompt", "x"], 2, /--continuation/],
    [["tokenize"], 2, /expected a text/],
    [["bench", "--prompt", "8,x"], 2, /--prompt: expected a positive integer/],
    [["prepare", "tiny", "--dtype", "q4"], 2, /a model and a folder, found 1 word;/],
    [["prepare", "tiny", fixture], 2, /--dtype/],
    [["prepare", "tiny", fixture, "--dtype", "int4"], 2, /"int4"/],
    [["prepare", "tiny", fixture, "--dtype", "q4"], 2, /an empty folder or none, found config\.json/],
    [["prepare", "tiny", `${fixture}/new`, "--dtype", "bf16", "--backend", "reference"], 1, /packs weights/],
  ])("%j", async (args, code, message) => {
    const found = await jamba(args);
    expect([found.code, found.stdout]).toEqual([code, ""]);
    expect(found.stderr).toMatch(message);
    expect(found.stderr.trimEnd().split("\n").length).toBe(1);
  });

  test("with --json the error is the one document", async () => {
    const { code, stdout } = await jamba(["run", "--backend", "reference", "--dtype", "q4", "--json"]);
    expect([code, JSON.parse(stdout)]).toEqual([1, { error: { code: "DTYPE", message: expect.any(String) } }]);
  });
});

describe("--json is one document", () => {
  test.each([
    [["devices"], (d: unknown[]) => expect(d.length).toBe(5)],
    [["inspect"], (d: object) => expect(d).toMatchObject({ layers: "MmMmAmMm", dtypes: ["BF16"], config: { dModel: 192 } })],
    [["tokenize", "Hi <|eom|>"], (d: object) => expect(d).toMatchObject({ count: 3, tokens: ["Hi", "▁", "<|eom|>"] })],
    [
      ["bench", fixture, "--prompt", "3,8", "-n", "2", "--repeat", "1"],
      (d: object) =>
        expect(d).toMatchObject({ prefill: [{ tokens: 3 }, { tokens: 8 }], decode: { tokensPerSecond: { median: expect.any(Number) } } }),
    ],
    [["tokenize", "--ids", "1973,4"], (d: object) => expect(d).toEqual({ text: "Hi<|eom|>" })],
    [
      ["score", "--prompt", "Once upon a time", "--continuation", ", a"],
      (d: object) => expect(d).toMatchObject({ tokens: { length: 2 }, logprob: expect.any(Number) }),
    ],
    [
      ["score", "--prompt", "Once upon a", "--continuation", " time", "--continuation", " zebra of"],
      (d: { continuations: { continuation: string; logprob: number }[] }) => {
        expect(d.continuations.map(({ continuation }) => continuation)).toEqual([" time", " zebra of"]);
        expect(d.continuations[0].logprob).toBeGreaterThan(d.continuations[1].logprob);
      },
    ],
    [["chat", "-n", "9"], (d: object) => expect(d).toMatchObject({ messages: { length: 4 }, answers: { length: 2 } })],
  ] as [string[], (document: never) => void][])("%j", async (args, check) => {
    const { code, stdout, stderr } = await jamba([...args, "--json"], { input: args[0] === "chat" ? "Who are you?\nWho is Mia?\n" : "" });
    expect([code, stderr]).toEqual([0, ""]);
    check(JSON.parse(stdout) as never);
  });
});

describe("prepare", async () => {
  const absent = (await listDevices()).find(({ backend }) => backend === "cpu")!.reason;
  const root = mkdtempSync(join(tmpdir(), "jamba-cli-"));
  const folder = join(root, "tiny-q8");
  beforeEach(({ skip }) => {
    if (absent) skip(absent);
  });
  afterAll(() => rmSync(root, { recursive: true }));

  test("makes a folder that is a model, and inspect says what it holds", async () => {
    const { code, stdout, stderr } = await jamba(["prepare", "tiny", folder, "--dtype", "q8", "--json"]);
    expect([code, stderr, JSON.parse(stdout)]).toMatchObject([0, "", { folder, dtype: "q8", sizeBytes: expect.any(Number) }]);
    const run = (model: string[]) => jamba(["run", ...model, "Once upon a time", "-n", "20"]);
    const [mapped, quantised] = [await run([folder]), await run(["tiny", "--dtype", "q8"])];
    expect([mapped.code, mapped.stdout]).toEqual([0, quantised.stdout]);
    expect(mapped.stderr).toMatch(/q8 weights/);
    expect((await jamba(["inspect", folder])).stdout).toMatch(/prepared as q8, .* layout \S+\n {2}\d+ tensors {2}q8, f32\n/);
    const { prepared, dtypes } = JSON.parse((await jamba(["inspect", folder, "--json"])).stdout);
    expect([prepared.dtype, dtypes]).toEqual(["q8", ["q8", "f32"]]);
  });

  test("a folder that is there is refused with exit code 2, and replaced with --overwrite", async () => {
    const again = ["prepare", "tiny", folder, "--dtype", "q8"];
    expect(await jamba(again)).toMatchObject({ code: 2, stderr: expect.stringMatching(/; pass --overwrite to replace/) });
    expect(await jamba([...again, "--overwrite"])).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringMatching(/MB as q8 for \S+, [\d.]+ s/),
    });
  });

  test("Ctrl-C ends it with exit code 130 and leaves nothing", async () => {
    const { code } = await jamba(["prepare", "tiny", join(root, "cut"), "--dtype", "q4"], { interrupted: true });
    expect([code, readdirSync(root)]).toEqual([130, ["tiny-q8"]]);
  });
});

describe("chat", () => {
  test("lines on stdin are turns, and each reads only what is new", async () => {
    const { code, stdout, stderr } = await jamba(["chat", "-n", "15"], { input: "Who are you?\n/tokens\nWho are you?\n/exit\nnot sent\n" });
    expect(code).toBe(0);
    expect(stdout.trimEnd().split("\n")).toEqual(["I am a very small Jamba model.", "I am a very small Jamba model."]);
    expect(stderr).toMatch(/ of 262144 tokens\n[\s\S]*\d+ kept/);
  });

  test("Ctrl-C stops the answer and the conversation goes on", async () => {
    let stopped = false;
    const { code, stdout, stderr } = await jamba(["chat", "-n", "300"], {
      input: "Write a story about Mia and a fox.\nWho are you?\n",
      onOutput: (_, interrupt) => {
        if (!stopped) interrupt();
        stopped = true;
      },
    });
    expect(code).toBe(0);
    expect(stderr).toMatch(/cancelled/);
    expect(stdout.trimEnd().split("\n").length).toBe(2);
  });
});

describe("inspect", () => {
  test.each([40, 80, 200])("the picture of a model fits %i columns", async (columns) => {
    const { stdout } = await jamba(["inspect", fixture], { tty: true, columns, env: { NO_COLOR: "1" } });
    for (const line of stdout.split("\n").slice(1)) expect(line.length).toBeLessThanOrEqual(columns);
    expect(stdout).not.toContain("\u001b");
    if (columns >= 80) expect(stdout.trimEnd().split("\n").length).toBeLessThanOrEqual(24);
  });

  const plan = ["--backend", "reference", "--context-length", "5000"];

  test("says where the memory goes, and that it fits", async () => {
    const { code, stdout, stderr } = await jamba(["inspect", "tiny", ...plan, "--batch", "2", "--memory", "1GiB", "--assumptions"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout.split("\n").slice(1).join("\n")).toMatchInlineSnapshot(`
      "  MmMmAmMm  M Mamba, A attention, small: experts
        nLayers 8, dModel 192, dFf 192, vocabSize 2048, dInner 384, dState 16,
        dConv 4, dtRank 16, nHeads 6, nKvHeads 2, headDim 32, nExperts 8,
        nActiveExperts 2, contextLength 262144
        219 tensors  BF16
        6.66 M parameters on reference, auto: 2 sequences of 5000 tokens
        experts     14.2 MB ████████████████████████▊
        mamba        7.1 MB ████████████▍
        attention  394.0 kB ▋
        mlp          1.8 MB ███▏
        embedding    1.6 MB ██▊
        head         1.6 MB ██▊
        KV f32       5.2 MB █████████▏
        state      817.2 kB █▍
        workspace  589.8 kB █
        all         33.3 MB of 1.1 GB free
        KV of one sequence: 4K 2.1 MB, 16K 8.4 MB, 64K 33.6 MB, 256K 134.2 MB
        in all, as f32 33.3 MB, bf16 33.3 MB, f16 33.3 MB
        fits; the longest context that fits is 262144 tokens
        weights as reference packs them, exact ones (norms, biases, convolution, A, D,
        routers) in f32; every sequence full, room for states made some at a time;
        workspace of the largest step, 64 tokens of a prompt or one of each sequence,
        on 1 thread; without the program itself, and without the states that loadModel
        keeps for later prompts (cache.bytes); within 1073741824 bytes
      "
    `);
  });

  test("or what would", async () => {
    const { stdout } = await jamba(["inspect", "tiny", ...plan, "--memory", "29MB"]);
    expect(stdout).toMatch(/does not fit in 29\.0 MB; no other dtype would; the longest context that fits\n {2}is 1024 tokens\n/);
    expect(stdout).toMatch(/all +30\.7 MB of 29\.0 MB free/);
  });

  test("--json has the plan beside what the files hold", async () => {
    const { stdout } = await jamba(["inspect", "tiny", ...plan, "--memory", "80GB", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      tensors: { length: 219 },
      bytes: { experts: expect.any(Number) },
      plan: { backend: "reference", contextLength: 5000, memory: { freeBytes: 80e9 }, fits: true },
    });
  });

  test("a config.json alone is enough, also one of a transformer", async () => {
    const { stdout } = await jamba(["inspect", `${fixture}/config.json`, ...plan]);
    expect(stdout).toMatch(/^\S+config\.json\n {2}MmMmAmMm {2}M Mamba[\s\S]*5000 tokens/);
    const root = mkdtempSync(join(tmpdir(), "jamba-cli-"));
    try {
      const config = {
        model_type: "mistral",
        vocab_size: 9,
        hidden_size: 8,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 1,
      };
      writeFileSync(join(root, "config.json"), JSON.stringify(config));
      const { stdout } = await jamba(["inspect", join(root, "config.json"), "--context-length", "8", "--json"]);
      expect(JSON.parse(stdout).plan).toMatchObject({ modelType: "mistral", backend: "paper" });
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test("files that can't be loaded are listed, with the reason", async () => {
    const root = mkdtempSync(join(tmpdir(), "jamba-cli-"));
    try {
      cpSync(fixture, root, { recursive: true });
      writeFileSync(
        join(root, "config.json"),
        readFileSync(join(fixture, "config.json"), "utf8").replace('"hidden_size": 48', '"hidden_size": 54'),
      );
      const { code, stdout } = await jamba(["inspect", root, "--tensors"], { columns: 200 });
      expect([code, stdout.match(/^model\.layers\./gm)!.length > 100]).toEqual([0, true]);
      expect(stdout).toMatch(/memory can't be planned: model\.embed_tokens\.weight: expected \[320, 54\], found \[320, 48\]/);
      expect(JSON.parse((await jamba(["inspect", root, "--json"])).stdout).planError.code).toBe("LOAD");
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
