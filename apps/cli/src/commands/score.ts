import { loadModel } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, loadOptions, splitModel, textFlag, UsageError } from "../flags.ts";
import { coloursFor, loadBar } from "../terminal.ts";

export const score: Command = {
  help: `jamba score [MODEL] --prompt TEXT --continuation TEXT

  The log probability of the continuation after the prompt: per token, the sum,
  and the perplexity.

  --json --quiet --backend --dtype --threads --context-length --offline
`,
  flags: { ...commonFlags, prompt: { type: "string" }, continuation: { type: "string" } },

  async run({ flags, words }, terminal) {
    const { model: source, rest } = splitModel(words);
    const [prompt, continuation] = [textFlag(flags, "prompt"), textFlag(flags, "continuation")];
    if (prompt === undefined || !continuation || rest.length > 0) {
      throw new UsageError("score: expected a model, --prompt and --continuation, found something else; see jamba score --help");
    }
    const bar = loadBar(terminal, !(flags.quiet || flags.json));
    const model = await loadModel(source, { ...loadOptions(flags), onProgress: bar.onProgress }).finally(bar.stop);
    try {
      const { logprob, tokens } = await model.score(prompt, continuation);
      const perplexity = Math.exp(-logprob / tokens.length);
      const named = tokens.map((token) => ({ ...token, token: model.tokenizer.tokenOf(token.id) }));
      if (flags.json) {
        terminal.stdout.write(`${JSON.stringify({ logprob, perplexity, tokens: named, device: model.device })}\n`);
        return 0;
      }
      const { bold } = coloursFor(terminal.stdout, terminal);
      for (const { token, logprob } of named) terminal.stdout.write(`${logprob.toFixed(4).padStart(10)}  ${JSON.stringify(token)}\n`);
      terminal.stdout.write(`${bold(logprob.toFixed(4).padStart(10))}  sum, perplexity ${perplexity.toFixed(3)}\n`);
      return 0;
    } finally {
      await model.dispose();
    }
  },
};
