// quantize and score: what one writes is what the other compares.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { listDevices, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { main } from "../cli.ts";
import { tensorLines } from "./quantize.ts";

const absent = (await listDevices()).find(({ backend }) => backend === "cpu")!.reason;

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "jamba-cli-quantize-"));
});
afterAll(() => rmSync(root, { recursive: true }));

async function jamba(args: string[], { tty = false, env = {}, interrupted = false } = {}) {
  const texts = { stdout: "", stderr: "" };
  const stream = (name: keyof typeof texts) =>
    Object.assign(new PassThrough(), { isTTY: tty, columns: 80 }).on("data", (piece) => {
      texts[name] += piece;
    });
  const code = await main(args, {
    stdin: Object.assign(Readable.from([]), { isTTY: false }),
    stdout: stream("stdout"),
    stderr: stream("stderr"),
    env,
    version: "1.2.3",
    onInterrupt(handler) {
      if (interrupted) handler();
      return () => undefined;
    },
    exit: () => undefined,
  });
  return { code, ...texts };
}

const at = (name: string) => join(root, name);
function write(name: string, text: string): string {
  writeFileSync(at(name), text);
  return at(name);
}

const story = "Once upon a time, a little girl named Ines lived near the farm. She had a friend, and her friend was called Alice.";
const questions = [
  { task: "a", prompt: "Once upon a time", expected: ["girl", "boy"], check: "contains", maxTokens: 12 },
  { task: "a", prompt: "Once upon a time", expected: ["girl", "boat"], check: "all", maxTokens: 12 },
  { task: "b", prompt: "Once upon a time", expected: ", a", check: "exact", maxTokens: 2 },
  { task: "b", messages: [{ role: "user", content: "Who are you?" }], expected: {}, check: "json", maxTokens: 2 },
];

describe("quantize", () => {
  test("writes a file that is a model, as --json says", async () => {
    const out = at("q8.gguf");
    const { code, stdout, stderr } = await jamba(["quantize", "tiny", out, "--dtype", "q8", "--json"]);
    expect([code, stderr]).toEqual([0, ""]);
    const found = JSON.parse(stdout);
    expect(found).toMatchObject({ file: out, dtype: "q8", warnings: [], tensors: { length: 135 } });
    expect(found.tensors).toContainEqual({
      name: "blk.0.ssm_in.weight",
      from: "bf16",
      dtype: "q8_0",
      shape: [768, 192],
      sizeBytes: (768 * 192 * 34) / 32,
      reason: "as asked",
    });
    expect(found.sizeBytes - found.tensors.reduce((sum: number, { sizeBytes }: { sizeBytes: number }) => sum + sizeBytes, 0)).toBeLessThan(
      200_000,
    );
    expect((await jamba(["run", out, "Once upon a time", "-n", "8", "-q"])).stdout).toMatch(/^, a little girl named \w+ lived near\n$/);
  });

  test("says on stderr what it took; a file that is there is refused with exit code 2, and replaced with --overwrite", async () => {
    const args = ["quantize", "tiny", at("bf16.gguf"), "--dtype", "bf16"];
    expect(await jamba(args)).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringMatching(/\n {2}\S+bf16\.gguf: 13\.5 MB as bf16, \d+\.\d s\n$/),
    });
    expect(await jamba(args)).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/; pass --overwrite to replace it/) });
    expect(await jamba([...args, "--overwrite", "--quiet"])).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  test("tells what tensors became, and why, by the bytes that they take", async () => {
    const { stderr } = await jamba(["quantize", "tiny", at("told.gguf"), "--dtype", "q4"]);
    expect(stderr.split("\n").slice(0, -2).join("\n")).toMatchInlineSnapshot(`
      "    3.2 MB  bf16 → q4_0       42 tensors    as asked: ssm_in, ssm_out, ffn_gate,
                                                  ffn_up, ffn_down, ffn_gate_exps,
                                                  ffn_up_exps, ffn_down_exps, attn_q,
                                                  attn_k, attn_v, attn_output
        972.7 kB  bf16 → q8_0       9 tensors     more bits: few values, and errors
                                                  there hurt most: token_embd, ssm_x,
                                                  output
        172.0 kB  f32, as it was    7 tensors     always f32: few values, and errors
                                                  there hurt everywhere: ssm_a
        114.2 kB  bf16 → f32        70 tensors    always f32: few values, and errors
                                                  there hurt everywhere: attn_norm,
                                                  ssm_conv1d, ssm_dt, ssm_d,
                                                  ssm_dt_norm, ssm_b_norm, ssm_c_norm,
                                                  ffn_norm, ffn_gate_inp, output_norm
         86.0 kB  bf16 → f16        7 tensors     more bits: few values, and errors
                                                  there hurt most, but rows of 16
                                                  values are no whole blocks of 32 for
                                                  q8_0: ssm_dt"
    `);
  });

  test("in lines that fit", async () => {
    const { stdout } = await jamba(["quantize", "tiny", at("fit.gguf"), "--dtype", "q4_k_m", "--json"]);
    const { tensors } = JSON.parse(stdout);
    for (const width of [80, 200]) {
      const lines = tensorLines(tensors, width).trimEnd().split("\n");
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(width);
      const counts = lines.flatMap((line) => Number(/(\d+) tensors?/.exec(line)?.[1] ?? 0));
      expect(counts.reduce((a, b) => a + b)).toBe(tensors.length);
    }
    const one = { name: "blk.0.x.weight", from: "bf16", dtype: "bf16", shape: [1], sizeBytes: 2, reason: "as asked" } as const;
    expect(tensorLines([one], 80)).toBe("       2 B  bf16, as it was   1 tensor      as asked: x\n");
  });

  test("notes what is lost, also in JSON", async () => {
    const [first, second] = [at("first.gguf"), at("second.gguf")];
    await jamba(["quantize", "tiny", first, "--dtype", "q8", "-q"]);
    const { stderr } = await jamba(["quantize", first, second, "--dtype", "q4"]);
    expect(stderr).toMatch(/^ {2}note: 42 tensors were quantised before.*\n.*q4, /m);
    const { stdout } = await jamba(["quantize", first, second, "--dtype", "q4", "--overwrite", "--json"]);
    expect(JSON.parse(stdout).warnings).toHaveLength(1);
  });

  test("takes a text to calibrate to, which changes scales and not sizes", async ({ skip }) => {
    if (absent) skip(absent);
    const write4 = async (name: string, ...more: string[]) =>
      JSON.parse((await jamba(["quantize", "tiny", at(name), "--dtype", "q4", "--json", ...more])).stdout).sizeBytes;
    const plain = await write4("plain.gguf");
    expect(await write4("calibrated.gguf", "--calibrate", write("text.txt", story))).toBe(plain);
    const score = async (name: string) =>
      JSON.parse((await jamba(["score", at(name), "--file", at("text.txt"), "--json"])).stdout).rows[0].perplexity;
    expect(await score("calibrated.gguf")).not.toBe(await score("plain.gguf"));
  });

  test("Ctrl-C ends it with exit code 130 and leaves nothing", async () => {
    const before = readdirSync(root);
    expect((await jamba(["quantize", "tiny", at("cut.gguf"), "--dtype", "q4"], { interrupted: true })).code).toBe(130);
    expect(readdirSync(root)).toEqual(before);
  });

  test("a bar shows how far it is, where somebody looks", async () => {
    const { stderr } = await jamba(["quantize", "tiny", at("bar.gguf"), "--dtype", "q8"], { tty: true });
    expect(stderr).toMatch(/quantising \S*bar\.gguf/);
  });
});

describe("score", () => {
  test("prints a line for each model and dtype, in columns", async ({ skip }) => {
    if (absent) skip(absent);
    const args = ["score", "tiny", "--dtype", "bf16,q8", "--file", write("story.txt", story), "--questions"];
    const asked = write("questions.jsonl", questions.map((question) => JSON.stringify(question)).join("\n"));
    const { code, stdout, stderr } = await jamba([...args, asked]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout.replaceAll(/\d\.\d{4}/g, "N.NNNN")).toBe(
      [
        "model  held as                file     memory  perplexity       right",
        "tiny   bf16                13.3 MB    13.5 MB      N.NNNN      2 of 4",
        "tiny   q8                  13.3 MB     7.5 MB      N.NNNN      2 of 4",
        "",
      ].join("\n"),
    );
    const { rows } = JSON.parse((await jamba([...args, asked, "--json"])).stdout);
    expect(rows).toMatchObject([
      { model: "tiny", dtype: "bf16", dtypes: ["bf16", "f32"], perplexity: expect.any(Number), right: 2, questions: 4 },
      { model: "tiny", dtype: "q8", dtypes: ["q8", "f32"], fileBytes: rows[0].fileBytes },
    ]);
    expect(rows[1].weightBytes).toBeLessThan(rows[0].weightBytes);
  });

  test("perplexity is over all tokens, in windows that begin anew", async () => {
    await using model = await loadModel("tiny");
    const { tokenizer } = model;
    for (const [name, text] of Object.entries({ one: story, two: "a", long: Array(25).fill(story).join(" ") })) {
      const ids = tokenizer.encode(text);
      let sum = 0;
      for (let from = 0; from < ids.length; from += 511)
        sum += (await model.score([tokenizer.bosId!], ids.slice(from, from + 511))).logprob;
      const { stdout } = await jamba(["score", "--file", write(`${name}.txt`, text), "--json"]);
      expect(JSON.parse(stdout).rows[0].perplexity).toBeCloseTo(Math.exp(-sum / ids.length), 6);
    }
  });

  test("colours only where somebody looks, unless NO_COLOR says otherwise", async () => {
    const args = ["score", "--file", write("short.txt", "Once upon a time"), "-q"];
    expect((await jamba(args, { tty: true })).stdout).toContain("\u001b[1mmodel");
    expect((await jamba(args, { tty: true, env: { NO_COLOR: "1" } })).stdout).toMatch(/^model /);
  });

  test("Ctrl-C ends it with exit code 130", async () => {
    expect(await jamba(["score", "--file", write("short.txt", "Once upon a time")], { interrupted: true })).toMatchObject({ code: 130 });
  });
});

describe("what is wrong with a command line", () => {
  test.each<[string[], RegExp]>([
    [["quantize", "tiny"], /a model and a file, found 1 word;/],
    [["quantize", "tiny", "x.gguf"], /--dtype/],
    [["quantize", "tiny", "x.gguf", "--dtype", "int4"], /"int4"/],
    [["quantize", "tiny", "x.bin", "--dtype", "q4"], /ends in \.gguf/],
    [["quantize", "tiny", "x.gguf", "--dtype", "q4", "--context-length", "9"], /--context-length/],
    [["quantize", "tiny", "x.gguf", "--dtype", "q4", "--calibrate", "no-such-file"], /--calibrate: expected a text file, found ENOENT/],
    [["quantize", "tiny", "x.gguf", "--dtype", "f16", "--calibrate", "package.json"], /no scales to choose/],
    [["score", "--file", "no-such-file"], /--file: expected a text file/],
    [["score", "--file", "package.json", "--prompt", "x"], /found both/],
    [["score", "--questions", "package.json"], /--questions: line 1: expected a question in JSON/],
    [["score", "--questions", "/dev/null"], /expected a question in each line, found none/],
    [["score", "--file", "/dev/null"], /found an empty file/],
  ])("%j", async (args, message) => {
    const found = await jamba(args);
    expect([found.code, found.stdout]).toEqual([2, ""]);
    expect(found.stderr).toMatch(message);
    expect(found.stderr.trimEnd().split("\n").length).toBe(1);
  });
});
