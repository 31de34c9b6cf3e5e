// The page of ten lines that each bundler gets.
import { loadModel } from "jamba";

async function answer() {
  const warnings = [];
  const onWarning = (warning) => warnings.push(warning);
  const model = await loadModel(new URL("/model/", location.href).href, { backend: "wasm", dtype: "f32", onWarning });
  const { text } = await model.generate("Once upon a time", { maxTokens: 12 });
  document.body.append(text);
  const { device } = model;
  await model.dispose();
  return { text, features: device.features, threads: device.threads, warnings };
}
globalThis.answer = answer();
