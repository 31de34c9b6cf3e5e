// What others measured of the family and published, in percent: nothing of it was measured here, and their prompts may differ.

export interface Published {
  readonly task: string;
  readonly model: string;
  readonly value: number;
  /** Solved examples, where the source says how many. */
  readonly shots?: number;
  readonly source: string;
}

const jamba = (task: string, value: number, shots?: number): Published => ({
  task,
  model: "Jamba v0.1",
  value,
  shots,
  source: "arXiv 2403.19887",
});

/** Of Mini and Large. */
const jamba15 = (task: string, values: readonly [mini: number, large: number], shots?: number): Published[] =>
  ["Jamba-1.5-Mini", "Jamba-1.5-Large"].map((model, i) => ({ task, model, value: values[i], shots, source: "arXiv 2408.12570" }));

export const published: readonly Published[] = [
  jamba("hellaswag", 87.1, 10),
  jamba("winogrande", 82.5, 5),
  jamba("arc_easy", 73.5, 0),
  jamba("arc_challenge", 64.4, 25),
  ...jamba15("arc_challenge", [85.7, 93.0]),
  jamba("piqa", 83.2),
  jamba("boolq", 88.2),
  jamba("gsm8k", 59.9, 3),
  ...jamba15("gsm8k", [75.8, 87.0], 5),
  // The paper does not say which of the two ways; leaderboards of its time took the second.
  jamba("truthfulqa_mc2", 46.4),
  jamba("mmlu", 67.4, 5),
  ...jamba15("mmlu", [69.7, 80.0], 5),
  // Means of all thirteen tasks, by length.
  ...[4096, 8192, 16384, 32768, 65536, 131072, 262144].flatMap((length, i) =>
    jamba15(`ruler at ${length}`, [[95.7, 95.2, 94.7, 93.8, 92.7, 89.8, 86.1][i], [96.7, 96.6, 96.4, 96.0, 95.4, 95.1, 93.9][i]]),
  ),
];
