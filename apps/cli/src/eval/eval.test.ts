// lm-evaluation-harness's own prompts, log probabilities and figures: test/eval/make-expected.py wrote them down.

import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { jamba } from "../../test/jamba.ts";
import { documentsOf } from "./documents.ts";
import { ask, groups, type Prepared, prepare, rowsOf } from "./evaluate.ts";
import { KeptAnswers } from "./kept-answers.ts";
import { madeDocs, madeTasks } from "./ruler.ts";
import { type Ask, asksOf, dataTasks, harness, type Measures } from "./tasks.ts";

const here = (path: string) => fileURLToPath(new URL(`../../test/eval/${path}`, import.meta.url));
const data = here("data");

interface Sample {
  /** Contexts with continuations, or the context of a text. */
  readonly asked: readonly (readonly [string, string])[] | readonly [string];
  /** "(log probability, whether it is the greedy one)", or a text. */
  readonly said: readonly (string | number)[];
  readonly measures: Measures;
}

interface Expected {
  readonly harness: string;
  readonly runs: readonly {
    readonly task: string;
    readonly shots: number;
    readonly samples: readonly Sample[];
    readonly rows: Readonly<Record<string, readonly [value: number, stderr: number | null]>>;
  }[];
  readonly judged: readonly { readonly question: string; readonly text: string; readonly measures: Measures }[];
}

const expected: Expected = JSON.parse(readFileSync(here("expected.json"), "utf8"));
const root = mkdtempSync(join(tmpdir(), "jamba-eval-"));

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
}, 120_000);
afterAll(async () => {
  rmSync(root, { recursive: true });
  await model.dispose();
});

const length = 1024;
const settings = { data, seed: 1234, lengths: [length], bos: false };
const made = madeTasks.filter(({ essays, name }) => !essays && name !== "needle");
const tokens = (text: string) => model.tokenizer.encode(text).length;

test("a seed makes the same long contexts everywhere", async () => {
  const docs = made.flatMap((task) =>
    [...madeDocs(task, 2, 1234, { length, tokens, essays: [] })].map(({ input, prefix, outputs }) => ({
      task: task.name,
      input,
      gen_prefix: prefix,
      outputs,
      max_length: length,
    })),
  );
  await expect(`${docs.map((doc) => JSON.stringify(doc)).join("\n")}\n`).toMatchFileSnapshot(here("data/ruler.jsonl"));
});

describe.each(expected.runs)("$task with $shots examples, as the harness", ({ task, shots, samples, rows }) => {
  test("has its prompts", async () => {
    const [{ asks }] = await prepare([task], { ...settings, fewshot: shots, limit: samples.length });
    expect([...asks(model)].map((one) => (one.kind === "text" ? [one.context] : one.pairs))).toEqual(samples.map(({ asked }) => asked));
  });

  test("finds its log probabilities, texts, measures and figures", async () => {
    const prepared = await prepare([task], { ...settings, fewshot: shots, limit: samples.length });
    const file = join(root, `${task}-${shots}.jsonl`);
    const outcomes = await askAll(prepared, file);
    const lines = readFileSync(file, "utf8").trim().split("\n");
    const said = lines.map((line) => JSON.parse(line)).sort((a, b) => a.index - b.index);
    for (const [i, sample] of samples.entries()) {
      const own = [said[i].said].flat();
      expect(own).toEqual(sample.said.map((one) => (Number.isNaN(Number(one)) || one === "" ? one : expect.closeTo(Number(one), 3))));
      expect(outcomes.get(task)![i]).toEqual(closeTo(sample.measures));
    }
    const found = rowsOf([task], prepared, outcomes).map(({ metric, value, stderr = null }) => [metric, [value, stderr]]);
    const close = (number: number | null) => (number === null ? null : expect.closeTo(number, 4));
    expect(Object.fromEntries(found)).toEqual(
      Object.fromEntries(Object.entries(rows).map(([metric, [value, stderr]]) => [metric, [close(value), close(stderr)]])),
    );
  });
});

const closeTo = (measures: Measures) => Object.fromEntries(Object.entries(measures).map(([name, one]) => [name, expect.closeTo(one, 4)]));

async function askAll(
  prepared: readonly Prepared[],
  file?: string,
  signal = new AbortController().signal,
  onProgress: () => void = () => undefined,
) {
  return ask(model, prepared, { bos: false, kept: await KeptAnswers.open(file), identity: "tiny", signal }, onProgress);
}

test("the version is that of the expectations", () => {
  expect(expected.harness).toBe(harness);
  expect([groups.mmlu.length, groups.ruler.length]).toEqual([57, 6]);
});

test("GSM8K's two filters judge as the harness's", async () => {
  const task = dataTasks.find(({ name }) => name === "gsm8k")!;
  for (const { question, text, measures } of expected.judged) {
    const [doc] = (await documentsOf(data, task.data, "test")).filter((one) => one.question === question);
    const [one] = asksOf(task, [doc], [], 0, 0);
    expect([text, (one as Extract<Ask, { kind: "text" }>).judge(text)]).toEqual([text, measures]);
  }
});

test("parquet files of the hub are read as lines of JSON are", async () => {
  for (const name of ["hellaswag", "arc_easy", "truthfulqa_mc2"]) {
    const { data: set, splits } = dataTasks.find((task) => task.name === name)!;
    expect(await documentsOf(here("parquet"), set, splits[0])).toEqual(await documentsOf(data, set, splits[0]));
  }
});

test("needles of several keys are hidden between the sentences of essays", async () => {
  const [{ asks }] = await prepare(["niah_multiquery"], { ...settings, limit: 2 });
  for (const one of asks(model)) {
    const { context, judge } = one as Extract<Ask, { kind: "text" }>;
    const hidden = [...context.matchAll(/One of the special magic numbers for (\S+) is: (\d{7})\./g)];
    const [, keys] = /The special magic numbers for (.*) mentioned in the provided text are$/.exec(context)!;
    expect(keys.replace("and ", "").split(", ").sort()).toEqual(hidden.map(([, key]) => key).sort());
    expect(context).toMatch(/^Some special magic numbers are hidden .*\n.*A small town lies by a river\. .*Nobody has seen it sink\./);
    const values = hidden.map(([, , value]) => value);
    expect([judge(values.join()), judge(`${values[0]}\n${values[2]}`), judge("")]).toEqual([{ 1024: 1 }, { 1024: 0.5 }, { 1024: 0 }]);
  }
});

test("a run that was stopped goes on where it stopped", async () => {
  const file = join(root, "stopped.jsonl");
  const prepared = await prepare(["hellaswag"], settings);
  const stop = new AbortController();
  const leave = new Error("left");
  await expect(askAll(prepared, file, stop.signal, () => stop.abort(leave))).rejects.toBe(leave);
  const before = readFileSync(file, "utf8").trim().split("\n").length;
  appendFileSync(file, '{"key":"half a li');
  const score = vi.spyOn(model, "score");
  const outcomes = await askAll(prepared, file);
  expect(score.mock.calls.length).toBe(prepared[0].count - before);
  expect(outcomes).toEqual(await askAll(prepared));
  score.mockClear();
  expect(await askAll(prepared, file)).toEqual(outcomes);
  expect(score).not.toHaveBeenCalled();
  // Another question is no kept one.
  await askAll(await prepare(["hellaswag"], { ...settings, fewshot: 1 }), file);
  expect(score).toHaveBeenCalledTimes(prepared[0].count);
  score.mockRestore();
});

test("MMLU weighs its subjects by their documents and pools their variances, RULER's tasks count alike", () => {
  const one = (name: string, count: number): Prepared => ({ name, shots: 0, count, hasStderr: name.startsWith("mmlu"), asks: () => [] });
  const of = (metric: string, ...values: number[]) => values.map((value) => ({ [metric]: value }));
  const rows = (names: string[], ...all: [name: string, outcomes: Measures[]][]) =>
    rowsOf(
      names,
      all.map(([name, outcomes]) => one(name, outcomes.length)),
      new Map(all),
    );
  const mmlu = rows(["mmlu"], ["mmlu_anatomy", of("acc", 1, 0, 1)], ["mmlu_virology", of("acc", 0, 1)]);
  // pooled_sample_stderr([1 / 3, 1 / 2], [3, 2])
  expect(mmlu.slice(0, 1)).toEqual([
    { task: "mmlu", shots: 0, documents: 5, metric: "acc", value: 0.6, stderr: expect.closeTo(0.2788866755, 9) },
  ]);
  expect(mmlu.map(({ task }) => task)).toEqual(["mmlu", "mmlu_stem", "mmlu_other", "mmlu_anatomy", "mmlu_virology"]);
  const ruler = rows(["ruler"], ["ruler_vt", of("64", 1, 1, 0.4)], ["ruler_cwe", of("64", 0)]);
  expect(ruler[0]).toEqual({ task: "ruler", shots: 0, documents: 4, metric: "64", value: expect.closeTo(0.4, 9) });
});

test("what can't be asked is told", async () => {
  const asked = (name: string, more: object = {}) => prepare([name], { ...settings, ...more });
  await expect(asked("helaswag")).rejects.toThrow(/expected a task .*, found helaswag; did you mean hellaswag\?/);
  await expect(asked("piqa", { data: undefined })).rejects.toThrow(/--data: expected the folder that has the data of piqa/);
  await expect(asked("mmlu")).rejects.toThrow(
    /expected .*mmlu.abstract_algebra.test….parquet or .jsonl, found none; hf download cais\/mmlu/,
  );
  const [long] = await asked("needle", { lengths: [300_000] });
  expect(() => [...long.asks(model)]).toThrow(/--lengths: expected at most 262144 tokens/);
  const [short] = await asked("ruler_vt", { lengths: [256] });
  expect(() => [...short.asks(model)]).toThrow(/--lengths: expected more than \d+ tokens for ruler_vt, found 256/);
  const [many] = await asked("piqa", { fewshot: 9 });
  expect(() => [...many.asks(model)]).toThrow(/--fewshot: expected at most 3 examples for piqa, found 9/);
  mkdirSync(join(root, "piqa"));
  writeFileSync(join(root, "piqa/validation.jsonl"), '{"goal":"a"}\n');
  await expect(asked("piqa", { data: root })).rejects.toThrow(
    /document 1: expected goal, sol1, sol2, label, as baber\/piqa has them, found goal/,
  );
  writeFileSync(join(root, "piqa/validation.jsonl"), '{"goal":"a","sol1":"b","sol2":"c","label":-1}\n');
  const [unlabelled] = await asked("piqa", { data: root });
  expect(() => [...unlabelled.asks(model)]).toThrow(/piqa: expected documents with answers, found one without/);
  writeFileSync(join(root, "notes.txt"), "not ours\n");
  await expect(KeptAnswers.open(join(root, "notes.txt"))).rejects.toThrow(/expected results of jamba eval, found another text/);
});

describe("jamba eval", () => {
  test("does what the README shows", async () => {
    const readme = readFileSync(here("../../README.md"), "utf8");
    const [, line] = /^jamba (eval tiny [^#\n]*)/m.exec(readme)!;
    const { code, stdout } = await jamba([...line.trim().split(/\s+/), "--json"]);
    expect(code).toBe(0);
    const { model: source, rows } = JSON.parse(stdout);
    expect(source).toBe("tiny");
    const row = (metric: string, documents: number) => ({ task: "needle", shots: 0, documents, metric, value: expect.any(Number) });
    expect(rows).toEqual([row("512", 4), ...[0, 10, 20, 30].map((depth) => row(`512 at ${depth} %`, 1))]);
  });

  test("shows a table with what was published apart", async () => {
    const args = ["eval", "piqa", "arc_easy", "--data", data, "--fewshot", "2"];
    const { code, stdout, stderr } = await jamba(args, { tty: true, env: { NO_COLOR: "1" } });
    expect([code, stderr]).toEqual([0, expect.stringMatching(/\r {2}1 of 6, \d+ s left/)]);
    const figures = (task: string, shots: number) => {
      const { rows } = expected.runs.find((run) => run.task === task && run.shots === shots)!;
      const percent = (share: number | null) => (100 * share!).toFixed(2);
      return Object.entries(rows).map(([metric, [value, stderr]]) => [task, "2", "3", metric, percent(value), percent(stderr)]);
    };
    const [own, others] = stdout.split("\npublished, not measured here\n").map((part) => part.trim().split("\n").slice(1));
    expect(own.map((line) => line.split(/\s+/))).toEqual([...figures("piqa", 2), ...figures("arc_easy", 2)]);
    expect(others[0]).toMatch(/^arc_easy +Jamba v0.1 +0 +73.5 +arXiv 2403.19887$/m);
  });

  test("takes tasks and files of questions apart", async () => {
    // None of them loads a model first.
    expect(await jamba(["eval", data, "piqa"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--data: expected the folder/),
    });
    expect(await jamba(["eval", "piqa", "x.jsonl"])).toMatchObject({ code: 2, stderr: expect.stringMatching(/found both/) });
    expect(await jamba(["eval", "x.jsonl", "--bos"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--bos: expected with tasks/),
    });
    expect(await jamba(["eval", "needle", "--lengths", "many"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--lengths: expected numbers/),
    });
    expect(await jamba(["eval", "needle", "--seed", "-1"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--seed: expected an integer/),
    });
  });
});
