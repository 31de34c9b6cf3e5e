import { expect, test } from "vitest";
import { writerOf } from "../conversation.ts";
import { randomFrom } from "../random.ts";
import type { LoadedSide, Sampler } from "../sides.ts";
import { speedOf } from "../stage.ts";
import type { Work } from "../works.ts";
import { sampling } from "./sampling.ts";

test("answers count while all are being given", () => {
  expect(speedOf([[0, 10, 20, 30]])).toBe(100);
  expect(
    speedOf([
      [0, 10, 20, 30],
      [5, 15, 25, 35],
    ]),
  ).toBe(200);
});

test("a sampler is measured in turn with greedy, and nothing else that was not asked for", async () => {
  const drawn: Sampler[] = [];
  const told: [Work, boolean][] = [];
  const engine = {
    async draw(_ids, tokens, sampler, onToken) {
      drawn.push(sampler);
      for (let i = 0; i < tokens; i++) onToken();
    },
  } as LoadedSide;
  await sampling({
    engine,
    writer: writerOf(randomFrom(1), 1024),
    tokens: 256,
    works: ["sampled-top-p"],
    figure: async (work, _, base) => void told.push([work, base !== undefined]),
    tell: async () => undefined,
  });
  expect(drawn.slice(0, 3)).toEqual([{ temperature: 0 }, { temperature: 0.7, topP: 0.9 }, { temperature: 0 }]);
  expect(new Set(drawn.map((sampler) => JSON.stringify(sampler))).size).toBe(2);
  expect(told).toEqual([["sampled-top-p", true]]);
});
