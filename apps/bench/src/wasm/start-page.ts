// What an app would do: a page that has nothing yet loads the small model and says a token.

import { loadModel } from "jamba";
import type { Told } from "./sides.ts";

async function start(): Promise<Told> {
  const runsMs = performance.now(); // since the navigation began
  const model = await loadModel(`${location.origin}/tiny`, { backend: "wasm", formats: "when-used" });
  const loadedMs = performance.now();
  let firstTokenMs = 0;
  await model.generate("Once upon a time", { maxTokens: 1, temperature: 0, onToken: () => (firstTokenMs = performance.now()) });
  return { device: `${model.device.name}, ${model.device.features.join("; ")}`, runsMs, loadedMs, firstTokenMs };
}

const told = await start().catch((error): Told => ({ device: "", failed: String(error?.stack ?? error) }));
await fetch("/told", { method: "POST", body: JSON.stringify(told) });
