// The small model's questions, which answers are right, and how many must be.

import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");

export const questions = read("eval/questions.jsonl")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));

/** By task: of f32 maths, which f32 has to give in every one. */
export const published = JSON.parse(read("eval/accuracy.json")).accuracy;

/** Points that all questions together may lose against the published accuracy. */
export const mayLose = { q8: 1, q4: 2 };

/** The rules of README.md, "How to use the questions". */
export function passes({ check, expected }, text) {
  const answer = text.trim();
  if (check === "contains") return expected.some((part) => answer.includes(part));
  if (check === "all") return expected.every((part) => answer.includes(part));
  if (check === "exact") return answer === expected;
  try {
    return isDeepStrictEqual(JSON.parse(answer), expected);
  } catch {
    return false;
  }
}

/** @returns how many answers to each task there are, which share is right, and by how many points that is more than the published one */
export function scores(answers) {
  return Object.entries(published).map(([task, accuracy]) => {
    const rows = answers.filter((answer) => task === "all" || answer.task === task);
    const found = rows.filter(({ passed }) => passed).length / rows.length;
    return { task, count: rows.length, found, accuracy, points: Math.round(1000 * (found - accuracy)) / 10 || 0 }; // no -0
  });
}

/** Whether `scores` are as good as they must be of weights that are held as `dtype`. */
export function isFit(dtype, all) {
  return all.every(({ task, points }) =>
    dtype === "f32" ? points === 0 : task !== "all" || !(dtype in mayLose) || -points <= mayLose[dtype],
  );
}
