// jamba as its users run it.

import type { Backend, JambaModel } from "jamba";
import { openBuild } from "./build.ts";
import type { Job, LoadedSide, OpTime, Side } from "./sides.ts";

export async function startOurs({ file, from, threads, level, contextTokens }: Job): Promise<Side> {
  const { jamba, cpu } = await openBuild(from);
  const backend = await cpu.openCpuBackend({ threads, level });
  const { name, features } = backend.device;
  return {
    device: `${name}, ${backend.device.threads} threads: ${features.join("; ")}`,
    load: async () => engineOf(backend, await jamba.loadModel(file, { backend, contextLength: contextTokens })),
  };
}

function engineOf(backend: Backend, model: JambaModel): LoadedSide {
  const { profile } = backend as { profile?: () => Promise<OpTime[]> };
  return {
    async generate(ids, onToken) {
      // What a step draws is what the bias says, so that the routing of experts varies as it does in a text.
      const logitBias: Record<number, number> = { 0: 0 };
      const end = new AbortController();
      const draw = () => {
        const next = onToken();
        for (const id of Object.keys(logitBias)) delete logitBias[Number(id)];
        if (next === undefined) end.abort();
        else logitBias[next] = 1e9;
      };
      await model.generate(ids, { temperature: 0, ignoreEos: true, logitBias, onToken: draw, signal: end.signal });
    },
    async reply(ids, answer, { onToken, promptLookup } = {}) {
      let said = 0;
      const logitBias = { [answer[0]]: 1e9 };
      const draw = () => {
        onToken?.();
        delete logitBias[answer[said]];
        said++;
        if (said < answer.length) logitBias[answer[said]] = 1e9;
      };
      const result = await model.generate(ids, {
        temperature: 0,
        maxTokens: answer.length,
        logitBias,
        promptLookup: promptLookup ? {} : undefined,
        onToken: draw,
      });
      if (result.ids.join() !== answer.join()) throw new Error(`jamba: expected to say ${answer.join()}, found ${result.ids.join()}`);
      return result.usage.promptTokens - result.usage.cachedTokens;
    },
    async draw(ids, tokens, sampler, onToken) {
      const result = await model.generate(ids, { ...sampler, ignoreEos: true, maxTokens: tokens, onToken });
      if (result.ids.length !== tokens) throw new Error(`jamba: expected ${tokens} tokens, found ${result.ids.length}`);
    },
    async answer(prompt, tokens) {
      const { text, usage } = await model.generate(prompt, { temperature: 0, ignoreEos: true, maxTokens: tokens });
      return { text, promptTokens: usage.promptTokens, newTokens: usage.completionTokens };
    },
    model,
    async check() {
      const { logits, state } = await model.forward([1, 300, 301]);
      state.dispose();
      if (!(logits.data as Float32Array).every(Number.isFinite)) throw new Error("jamba: expected finite logits, found others");
    },
    profile: profile && (() => profile.call(backend)),
    async close() {
      await model.dispose();
      await backend.dispose();
    },
  };
}
