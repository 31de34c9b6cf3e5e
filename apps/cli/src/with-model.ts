import { type JambaModel, type LoadOptions, loadModel } from "jamba";
import { type FlagValues, loadOptions } from "./flags.ts";
import { interruptible, loadBar, type Terminal } from "./terminal.ts";

/** Whose an answer is. */
export function origin(source: string, { device, dtypes }: Pick<JambaModel, "device" | "dtypes">): string {
  return `${source} on ${device.kind}, ${dtypes[0]} weights`;
}

/** What a short run loads a model with: it reads nothing for formats that it may never use. */
export const shortRun = { formats: "when-used" } as const satisfies LoadOptions;

/** Loads the model that the flags ask for, runs `body` to its exit code, and gives the memory back. An interrupt aborts the signal: 130. */
export function withModel(
  source: string,
  flags: FlagValues,
  terminal: Terminal,
  body: (model: JambaModel, signal: AbortSignal) => Promise<number>,
  options: LoadOptions = shortRun,
): Promise<number> {
  return interruptible(terminal, async (signal) => {
    const bar = loadBar(terminal, !(flags.quiet || flags.json));
    const all = { ...loadOptions(flags, terminal), ...options, signal, onProgress: bar.onProgress };
    const model = await loadModel(source, all).finally(bar.stop);
    try {
      return await body(model, signal);
    } finally {
      await model.dispose();
    }
  });
}
