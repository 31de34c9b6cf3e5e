import { type JambaModel, loadModel } from "jamba";
import { type FlagValues, loadOptions } from "./flags.ts";
import { interruptible, loadBar, type Terminal } from "./terminal.ts";

/** Whose an answer is. */
export function origin(source: string, { device, dtypes }: Pick<JambaModel, "device" | "dtypes">): string {
  return `${source} on ${device.kind}, ${dtypes[0]} weights`;
}

/** Loads the model that the flags ask for, runs `body` to its exit code, and gives the memory back. An interrupt aborts the signal: 130. */
export function withModel(
  source: string,
  flags: FlagValues,
  terminal: Terminal,
  body: (model: JambaModel, signal: AbortSignal) => Promise<number>,
): Promise<number> {
  return interruptible(terminal, async (signal) => {
    const bar = loadBar(terminal, !(flags.quiet || flags.json));
    const model = await loadModel(source, { ...loadOptions(flags, terminal), signal, onProgress: bar.onProgress }).finally(bar.stop);
    try {
      return await body(model, signal);
    } finally {
      await model.dispose();
    }
  });
}
