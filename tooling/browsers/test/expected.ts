// The small model's texts, as they were written by f32 maths on its weights.

import { readFileSync } from "node:fs";
import type { Expected } from "./page/trial.ts";

export const expectedTexts: readonly Expected[] = readFileSync(new URL("../../tiny-model/eval/expected.jsonl", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));
