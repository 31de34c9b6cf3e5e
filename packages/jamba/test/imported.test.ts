// States from elsewhere: what was made otherwise changes nothing for those who did not ask for it, and what a file says is either refused
// when it is opened or works from then on.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StatePart } from "@jamba/core";
import { openFile } from "@jamba/loader";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type JambaModel, type LoadOptions, loadModel, type Message, type Result } from "../src/index.ts";
import { stateSpec } from "../src/model/forward.ts";
import { decodeState, type StateFileHeader } from "../src/state/state-codec.ts";
import { writeStateFile } from "../src/state/state-file.ts";
import { cpuAbsent } from "./golden.ts";
import { collect } from "./states.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "imported-"));
});
afterAll(() => rm(folder, { recursive: true }));

const open = (options: LoadOptions = {}) => loadModel("tiny", { backend: "cpu", contextLength: 400, dtype: "f32", ...options });
const told = ({ text, ids, logprobs }: Result) => ({ text, ids, logprobs });
const answer = async (model: JambaModel, messages: readonly Message[]) =>
  told(await model.generate(messages, { maxTokens: 6, topLogprobs: 3 }));

/** A conversation of a model, saved. */
async function saved(model: JambaModel, name: string): Promise<{ path: string; messages: readonly Message[] }> {
  const path = join(folder, name);
  await using session = model.session({ system: "Tell stories to children. Be kind. ".repeat(3) });
  await session.send("Tell me of a fox and an owl.", { maxTokens: 20 });
  await session.save(path);
  return { path, messages: session.messages };
}

test.skipIf(cpuAbsent)("a state of other dtypes changes nothing of what others are answered, here or after a start anew", async () => {
  await using rough = await open({ dtype: "q4" });
  const { path, messages } = await saved(rough, "q4");
  await using alone = await open({ cache: { bytes: 0 } });
  const more: Message[] = [...messages, { role: "user", content: "And then?" }];
  const expected = await answer(alone, more);
  const options = { cache: { bytes: 2 ** 20, dir: join(folder, "states") } };
  const go = async (model: JambaModel) => {
    expect(await answer(model, more)).toEqual(expected);
    await using other = model.session({ messages });
    expect(told(await other.send("And then?", { maxTokens: 6, topLogprobs: 3 }))).toEqual(expected);
  };
  {
    await using model = await open(options);
    await using session = await model.openSession(path);
    const { usage } = await session.send("And then?", { maxTokens: 6 });
    expect(usage.cachedTokens).toBeGreaterThan(40);
    await go(model);
    // Many others, so that what was imported goes to the disk.
    for (let i = 0; i < 8; i++) await model.generate(Array(200).fill(300 + i), { maxTokens: 1 });
  }
  await using later = await open(options);
  await go(later);
  // What goes on from a state of other dtypes says so in its own file.
  await using session = await later.openSession(path);
  await session.send("And then?", { maxTokens: 6 });
  await session.save(`${path}-further`);
  await using further = await later.openSession(`${path}-further`);
  await further.send("And then?", { maxTokens: 2 });
  await go(later);
});

test.skipIf(cpuAbsent)(
  "two that were opened from one file share what they read; one that was made alike is as the model's own",
  async () => {
    await using rough = await open({ dtype: "q4" });
    const { path } = await saved(rough, "shared");
    await using model = await open();
    await using first = await model.openSession(path);
    await using second = await model.openSession(path);
    const { usage } = await first.send("Who are you, and what do you want?", { maxTokens: 1 });
    const again = await second.send("Who are you, and what do you want?", { maxTokens: 1 });
    expect(again.usage.cachedTokens).toBe(usage.promptTokens);

    await using same = await open();
    const own = await saved(same, "own");
    await using opened = await model.openSession(own.path);
    const found = await model.generate([...own.messages, { role: "user", content: "And then?" }], { maxTokens: 1 });
    expect(found.usage.cachedTokens).toBeGreaterThan(40);
    expect(opened.tokens.length).toBeGreaterThan(40);
  },
);

test.skipIf(cpuAbsent)("a state in host tensors is kept for others only if somebody vouches for it", async () => {
  await using rough = await open({ dtype: "q4" });
  await using model = await open();
  const ids = Array.from({ length: 40 }, (_, i) => 300 + i);
  const { state } = await rough.forward(ids);
  const exported = await state.export();
  state.dispose();
  await expect(model.keep(ids, exported)).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/made/) });
  const { state: after } = await model.forward([5], { state: exported });
  await expect(model.keep([...ids, 5], after)).rejects.toMatchObject({ code: "OPTION" });
  after.dispose();
  await model.keep(ids, exported, { isOwn: true });
  expect((await model.generate([...ids, 7], { maxTokens: 1 })).usage.cachedTokens).toBe(40);
  model.clearCache();
  expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
});

/** Any JSON, with what programs stumble over. */
const json = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<unknown>(null, true, -1, 1e308, "", "tool", "__proto__", [], {}, [null], { role: "user" }) },
  { weight: 1, arbitrary: fc.jsonValue() },
  { weight: 1, arbitrary: fc.constant(JSON.parse(`${"[".repeat(2000)}${"]".repeat(2000)}`) as unknown) },
  { weight: 1, arbitrary: fc.constant(JSON.parse('{"__proto__": {"role": "user"}}') as unknown) },
);

/** One place of `value` changed, by numbers that say which and how. */
function changed(value: unknown, path: readonly number[], by: unknown): unknown {
  const [at, ...rest] = path;
  if (at === undefined || typeof value !== "object" || value === null) return by;
  const keys = Object.keys(value);
  const key = keys[at % (keys.length + 1)] ?? "added";
  if (Array.isArray(value)) return value.map((one, i) => (String(i) === key ? changed(one, rest, by) : one));
  return { ...value, [key]: changed((value as Record<string, unknown>)[key], rest, by) };
}

const names = ["maxTokens", "format", "tools", "toolChoice", "signal", "tenant", "stop", "truncation", "knobs", "variables", "documents"];

test.skipIf(cpuAbsent)(
  "a forged session is refused when it is opened, or works for whatever follows",
  async () => {
    await using model = await open();
    const { path } = await saved(model, "forged-from");
    const source = await openFile(path);
    const spec = stateSpec(model.config, 64, "f32");
    // Its header is JSON between the 56 bytes before it and the ids.
    const length = new DataView((await source.read(12, 4)).slice().buffer).getUint32(0, true);
    const identity = JSON.parse(new TextDecoder().decode(await source.read(56, length))) as StateFileHeader;
    const expected = { model: identity.model, tokenizer: identity.tokenizer, spec, vocabSize: model.config.vocabSize };
    const file = await decodeState(source, expected);
    const parts = await collect(file.parts);
    await source.close();
    const counts = { refused: 0, taken: 0 };
    const check = async (header: StateFileHeader, ids: readonly number[], changedParts: readonly StatePart[]) => {
      const forged = join(folder, "forged");
      const { kvDtype } = { kvDtype: parts.find(({ name }) => name === "k")?.dtype ?? "f32" };
      await writeStateFile(forged, header, ids, { ...spec, kvDtype }, changedParts);
      await using kept = model.session({ system: "Be kind." });
      const before = kept.messages;
      try {
        await kept.load(forged);
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^(LOAD|SESSION_MISMATCH|CONTEXT_FULL)$/) });
        expect(kept.messages).toEqual(before);
        counts.refused++;
        return;
      }
      counts.taken++;
      expect(kept.messages.length).toBeGreaterThanOrEqual(0);
      await using fork = await kept.fork();
      await fork.send("Hi", { maxTokens: 2 });
      await fork.save(`${forged}-again`);
      await using again = await model.openSession(`${forged}-again`);
      expect(again.messages).toEqual(fork.messages);
      await kept.rewind(0);
      await kept.send("Hi", { maxTokens: 1 });
    };
    const { meta, made } = file.header as { meta: { messages: unknown[]; options: object }; made: unknown };
    await check(file.header, file.ids, parts);
    expect(counts).toEqual({ refused: 0, taken: 1 });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(6), { maxLength: 6 }), json, fc.nat(9), fc.nat(10), async (at, by, kind, name) => {
        if (kind < 6) return check({ ...file.header, meta: changed(meta, at, by) }, file.ids, parts);
        if (kind === 6) return check({ ...file.header, meta: { ...meta, options: { [names[name]]: by } } }, file.ids, parts);
        if (kind === 7) return check({ ...file.header, made: changed(made, at, by) as never }, file.ids, parts);
        if (kind === 8) return check(file.header, file.ids.with(at[0] ?? 0, name * 10_000), parts);
        const [i, value] = [(at[0] ?? 0) % parts.length, [Number.NaN, Number.POSITIVE_INFINITY, 0][name % 3]];
        const bytes = parts[i].bytes.slice();
        if (parts[i].dtype === "f32") new DataView(bytes.buffer).setFloat32(4 * (name % 3), value, true);
        else new DataView(bytes.buffer).setUint16(0, parts[i].dtype === "bf16" ? 0x7f80 : 0x7c00, true);
        return check(file.header, file.ids, parts.with(i, { ...parts[i], bytes }));
      }),
      { seed: 41, numRuns: Number(process.env.JAMBA_FUZZ_CALLS ?? 150) },
    );
    expect(counts.refused).toBeGreaterThan(30);
    expect(counts.taken).toBeGreaterThan(10);
  },
  600_000,
);
