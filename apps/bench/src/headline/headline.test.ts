import { parseConfig } from "jamba";
import { expect, test } from "vitest";
import { contextChart, fitChart } from "./charts.ts";
import { type Fit, type Point, sequencesIn, tokensOf } from "./command.ts";
import { promptSeconds } from "./measure.ts";
import { activeParameters, configsOf, twins } from "./twins.ts";

test.each(["small", "nano"] as const)(
  "%s: all twins read as many parameters for a token, within 4 percent, and remember otherwise",
  (shape) => {
    const configs = twins.map((twin) => parseConfig(configsOf(shape)[twin], twin));
    const [jamba, attention, multiQuery, mamba] = configs;
    for (const config of configs) expect(Math.abs(activeParameters(config) / activeParameters(jamba) - 1)).toBeLessThan(0.04);
    const attends = ({ layerKinds }: typeof jamba) => layerKinds.filter((kind) => kind === "attention").length;
    expect(configs.map(attends)).toEqual([jamba.nLayers / 8, jamba.nLayers, jamba.nLayers, 0]);
    expect([attention.nKvHeads, multiQuery.nKvHeads, mamba.ffnKinds]).toEqual([jamba.nKvHeads, 1, jamba.ffnKinds]);
  },
);

test("a prompt takes the sum of what its tokens take, each at its depth", () => {
  const secondsAt = (depth: number) => 0.001 + 0.000002 * depth;
  const depths = [0, 100, 1000].map((depth) => ({ depth, seconds: secondsAt(depth) }));
  for (const tokens of [1, 50, 100, 101, 1000]) {
    let sum = 0;
    for (let at = 0; at < tokens; at++) sum += secondsAt(at + 0.5);
    expect(promptSeconds(depths, tokens)).toBeCloseTo(sum, 9);
  }
});

test("as many sequences fit as the budget holds beside the weights", () => {
  const fit: Fit = { twin: "jamba", activeParameters: 1, weightBytes: 100, stateBytes: 10, kvBytesPerToken: 1, longestContext: 5 };
  expect([sequencesIn(fit, 99, 10), sequencesIn(fit, 139, 10), sequencesIn(fit, 140, 10)]).toEqual([0, 1, 2]);
  expect([tokensOf("4K"), tokensOf("100")]).toEqual([4096, 100]);
});

test("the charts name every twin", () => {
  const point = (twin: (typeof twins)[number], context: number): Point => {
    return { twin, context, manner: "budget", sequences: 2, decode: 10, prefill: 100, endToEnd: 5 };
  };
  const throughput = contextChart(
    twins.flatMap((twin) => [point(twin, 4096), point(twin, 8192)]),
    "here",
  );
  const fits = twins.map((twin): Fit => {
    return { twin, activeParameters: 1, weightBytes: 1, stateBytes: 1, kvBytesPerToken: 1, longestContext: 65_536 };
  });
  for (const name of ["here", ...twins]) expect(throughput).toContain(`>${name}<`);
  for (const name of ["here", "64K", ...twins]) expect(fitChart(fits, "here")).toContain(`>${name}<`);
});
