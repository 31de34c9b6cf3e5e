// lm-evaluation-harness against this server: its own bodies, as recorded from 0.4.13, and itself where it is installed.

import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Json, posted } from "../test/requests.ts";
import { type Server, serve } from "./index.ts";

let model: JambaModel;
let server: Server;
beforeAll(async () => {
  model = await loadModel("tiny");
  server = await serve(model, "tiny", { port: 0 });
});
afterAll(async () => {
  await server.close();
  await model.dispose();
});

const questions = [
  { question: "Once upon a time, a little girl named", choices: ["Mia lived near the farm.", "banana", "the the the"], answer: 0 },
  { question: "The fox ran to the", choices: ["river", "hill and found a red ball.", "of"], answer: 1 },
];
const texts = [{ prompt: "Once upon a time" }, { prompt: "The fox" }];

const idsOf = (text: string) => model.tokenizer.encode(text);
/** Texts are cut apart where the harness cuts them: at the end of what the question alone has. */
const scoreOf = (before: readonly number[], all: readonly number[]) => model.score(before, all.slice(before.length));

/** As the harness reads an answer: `ctxlen` tokens are the context's, the last one was drawn. */
function readAnswer({ token_logprobs, top_logprobs }: Json, ctxlen: number): [sum: number, isGreedy: boolean] {
  const own: number[] = token_logprobs.slice(ctxlen, -1);
  const best = top_logprobs.slice(ctxlen, -1).map((top: Record<string, number>) => Math.max(...Object.values(top)));
  return [own.reduce((sum, one) => sum + one, 0), own.every((one, i) => one === best[i])];
}

describe("recorded requests", () => {
  const ask = async (path: string, body?: object): Promise<Json> => {
    const response = await fetch(`${server.url}${path}`, body && posted(body));
    expect(response.status).toBe(200);
    return response.json();
  };

  test("tell that the server has a tokenizer", async () => {
    expect(await ask("/tokenizer_info")).toMatchObject({ eos_token: "<|endoftext|>", bos_token: "<|startoftext|>", chat_template: /bom/ });
    const prompt = "Once upon a time, a little girl named banana";
    const bare = { prompt, add_special_tokens: false };
    const { tokens, count } = await ask("/tokenize", bare);
    expect([tokens, count]).toEqual([idsOf(prompt), tokens.length]);
    expect((await ask("/tokenize", { prompt })).tokens).toEqual([model.tokenizer.bosId, ...tokens]);
    expect((await ask("/tokenize", { prompt: "<|endoftext|>", add_special_tokens: false })).tokens).toEqual([model.tokenizer.eosId]);
    expect((await ask("/detokenize", { tokens })).prompt).toBe(prompt);
  });

  test.each([1, 3])("of choices give the model's own scores, %i in a request", async (size) => {
    const asked = questions.flatMap(({ question, choices }) =>
      choices.map((choice) => ({ ctxlen: idsOf(question).length, ids: idsOf(`${question} ${choice}`) })),
    );
    for (let at = 0; at < asked.length; at += size) {
      const some = asked.slice(at, at + size);
      const prompt = some.map(({ ids }) => ids);
      const body = { model: "tiny", prompt, temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true };
      const { choices } = await ask("/v1/completions", body);
      for (const [i, { ctxlen, ids }] of some.entries()) {
        const { logprob, tokens } = await scoreOf(ids.slice(0, ctxlen), ids);
        const greedy = await model.generate(ids.slice(0, ctxlen), { maxTokens: tokens.length, ignoreEos: true, temperature: 0 });
        expect(readAnswer(choices[i].logprobs, ctxlen)).toEqual([
          expect.closeTo(logprob, 3),
          greedy.ids.every((id, at) => id === tokens[at].id),
        ]);
      }
    }
  });

  test("of what goes on greedily are known as such", async () => {
    const context = idsOf("Once upon a time");
    const { ids } = await model.generate(context, { maxTokens: 6, temperature: 0 });
    const body = { model: "tiny", prompt: [[...context, ...ids]], temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true };
    const { choices } = await ask("/v1/completions", body);
    expect(readAnswer(choices[0].logprobs, context.length)[1]).toBe(true);
  });

  test("of texts to write go on until their ends", async () => {
    for (const { prompt } of texts) {
      const body = { prompt: [idsOf(prompt)], model: "tiny", max_tokens: 12, temperature: 0, stop: [".", "<|endoftext|>"], seed: 1234 };
      const { choices } = await ask("/v1/completions", body);
      const { text } = await model.generate(idsOf(prompt), { maxTokens: 12, temperature: 0, stop: [".", "<|endoftext|>"] });
      expect(choices[0].text).toBe(text);
    }
  });
});

describe("lm_eval --model local-completions", () => {
  const python = process.env.JAMBA_LM_EVAL ?? "python3";
  const run = promisify(execFile);
  const root = mkdtempSync(join(tmpdir(), "jamba-lm-eval-"));
  afterAll(() => rmSync(root, { recursive: true }));

  /** What the harness noted of each question of a task. */
  async function samplesOf(tasks: Readonly<Record<string, { rows: readonly object[]; task: object }>>, flags: readonly string[]) {
    for (const [name, { rows, task }] of Object.entries(tasks)) {
      const data = join(root, `${name}.jsonl`);
      writeFileSync(data, rows.map((row) => JSON.stringify(row)).join("\n"));
      // YAML takes JSON.
      const shared = { task: name, dataset_path: "json", dataset_kwargs: { data_files: { test: data } }, test_split: "test" };
      writeFileSync(join(root, `${name}.yaml`), JSON.stringify({ ...shared, ...task }));
    }
    const out = mkdtempSync(join(root, "out-"));
    const model = ["--model", "local-completions", "--model_args", `model=tiny,base_url=${server.url}/v1/completions,num_concurrent=3`];
    const args = [...model, "--tasks", Object.keys(tasks).join(), "--include_path", root, "--output_path", out, "--log_samples", ...flags];
    const env = { ...process.env, HF_HOME: join(root, "hf"), HF_DATASETS_OFFLINE: "1", HF_HUB_OFFLINE: "1" };
    await run(python, ["-m", "lm_eval", ...args], { env });
    const files = readdirSync(join(out, "tiny"));
    return (name: string): Json[] => {
      const file = files.find((one) => one.startsWith(`samples_${name}_`))!;
      return readFileSync(join(out, "tiny", file), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
    };
  }

  test("asks and finds what the model itself says", { timeout: 120_000 }, async ({ skip }) => {
    const found = await run(python, ["-c", "import lm_eval"]).catch((error: Error) => error);
    if (found instanceof Error) skip(`no lm_eval for ${python}; pip install "lm_eval[api]", and JAMBA_LM_EVAL names another python`);
    const choice = { output_type: "multiple_choice", doc_to_text: "{{question}}", doc_to_choice: "{{choices}}", doc_to_target: "answer" };
    const words = {
      output_type: "generate_until",
      doc_to_text: "{{prompt}}",
      doc_to_target: "",
      generation_kwargs: { until: ["."], max_gen_toks: 12 },
    };
    const rolling = { output_type: "loglikelihood_rolling", doc_to_text: "", doc_to_target: "{{prompt}}" };
    const samples = await samplesOf(
      {
        jamba_choice: { rows: questions, task: { ...choice, metric_list: [{ metric: "acc" }] } },
        jamba_words: { rows: texts, task: { ...words, metric_list: [{ metric: "exact_match" }] } },
        jamba_rolling: { rows: texts, task: { ...rolling, metric_list: [{ metric: "word_perplexity" }] } },
      },
      ["--batch_size", "2"],
    );
    for (const [at, { resps }] of samples("jamba_choice").entries()) {
      const { question, choices } = questions[at];
      const before = idsOf(question);
      for (const [i, one] of choices.entries()) {
        const { logprob } = await scoreOf(before, idsOf(`${question} ${one}`));
        expect(Number(resps[i][0][0])).toBeCloseTo(logprob, 3);
      }
    }
    for (const [at, { resps }] of samples("jamba_words").entries())
      expect(resps[0][0]).toBe((await model.generate(idsOf(texts[at].prompt), { maxTokens: 12, temperature: 0, stop: "." })).text);
    for (const [at, { resps }] of samples("jamba_rolling").entries()) {
      const { logprob } = await model.score([model.tokenizer.bosId!], idsOf(texts[at].prompt));
      expect(Number([resps].flat(3)[0])).toBeCloseTo(logprob, 3);
    }
  });
});
