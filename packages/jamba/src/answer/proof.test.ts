// Draws from evidence against draws from the whole row, and those against the plain way to say what is drawn.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Evidence, evidenceOf } from "../engine/evidence.ts";
import { askedIds, draw, logprobsOf, type Said, type SamplingOptions, sampleRow, uniform } from "./sampler.ts";

const runs = Number(process.env.JAMBA_FUZZ_DRAWS ?? 4000);
const nothing: Said = { prompt: [], answer: [] };
/** The `i`-th number of a normal distribution that belongs to `seed`. */
const normal = (seed: number, i: number) =>
  Math.sqrt(-2 * Math.log(1 - uniform(seed, 2 * i))) * Math.cos(2 * Math.PI * uniform(seed, 2 * i + 1));

/** Kinds of rows: logit by id. */
const kinds: Record<string, (seed: number, id: number) => number> = {
  spread: (seed, id) => 3 * normal(seed, id),
  peaked: (seed, id) => 8 * normal(seed, id),
  flat: (seed, id) => normal(seed, id) / 100,
  ties: (seed, id) => Math.round(2 * normal(seed, id)),
  equal: () => 1.5,
  steep: (seed, id) => -((id * 7) % 101) * uniform(seed, 0),
  one: (_, id) => (id === 3 ? -2 : Number.NEGATIVE_INFINITY),
  none: () => Number.NaN,
  damaged: (seed, id) => [Number.NaN, 1 / 0, -1 / 0, normal(seed, id), 2][Math.floor(5 * uniform(seed, 1000 + id))],
  huge: (seed, id) => [1e30, -1e30, 1e30, 0, 3 * normal(seed, id)][Math.floor(5 * uniform(seed, 1000 + id))],
};
const rowOf = (...names: string[]) =>
  fc
    .record({ kind: fc.constantFrom(...names), size: fc.integer({ min: 4, max: 600 }), seed: fc.nat() })
    .map(({ kind, size, seed }) => Float32Array.from({ length: size }, (_, id) => kinds[kind](seed, id)));
const anyRow = rowOf(...Object.keys(kinds));
const mildRow = rowOf("spread", "peaked", "flat", "ties", "equal", "steep");
const share = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
const anyId = fc.oneof(fc.nat(5), fc.nat(700));
const allOptions = fc.record(
  {
    topK: fc.constantFrom(0, 1, 5, 40, 300),
    topP: fc.oneof(share, fc.constantFrom(0.25, 0.5, 0.9, 1)),
    minP: fc.oneof(share, fc.constantFrom(0.01, 0.05, 1)),
    typicalP: fc.oneof(share, fc.constantFrom(0.5, 0.9)),
    xtc: fc.record({ probability: fc.constantFrom(0.5, 1), threshold: fc.oneof(share, fc.constantFrom(0, 0.01, 0.1)) }),
    dry: fc.record({ multiplier: fc.constantFrom(0, 0.8, 5), allowedLength: fc.constantFrom(1, 2) }),
    repetitionPenalty: fc.constantFrom(0.5, 1, 1.1, 2),
    frequencyPenalty: fc.constantFrom(-0.5, 0, 0.3, 2),
    presencePenalty: fc.constantFrom(-3, 0, 0.5),
    logitBias: fc.dictionary(anyId.map(String), fc.constantFrom(-1 / 0, -100, -1, 0.5, 5, 1e9, 1 / 0), { maxKeys: 6 }),
  },
  { requiredKeys: [] },
);
/** Three in four times only few of them: many together leave little to draw from. */
const anyOptions: fc.Arbitrary<SamplingOptions> = fc
  .record({
    given: allOptions,
    most: fc.constantFrom(1, 2, 3, 9),
    temperature: fc.constantFrom(0, 0.01, 0.3, 0.7, 0.7, 1, 1, 1.5, 10),
    seed: fc.nat(),
  })
  .map(({ given, most, temperature, seed }) => {
    const entries = Object.entries(given)
      .map((entry, i) => ({ entry, rank: uniform(seed, i) }))
      .sort((a, b) => a.rank - b.rank);
    return { temperature, ...Object.fromEntries(entries.slice(0, most).map(({ entry }) => entry)) };
  });
const anySaid = fc.record({ prompt: fc.array(anyId, { maxLength: 12 }), answer: fc.array(anyId, { maxLength: 12 }) });
const anyPoint = fc.oneof(share, share, fc.constantFrom(0, 0.25, 0.5, 1 - 2 ** -53));
/** Which ids may come next: undefined for all, else each with this chance. */
const anyMask = fc.option(fc.record({ chance: fc.constantFrom(0.01, 0.1, 0.5, 0.98), seed: fc.nat() }), { nil: undefined }).map(
  (mask) =>
    mask &&
    Int32Array.from({ length: 19 }, (_, word) => {
      let bits = 0;
      for (let bit = 0; bit < 32; bit++) if (uniform(mask.seed, 32 * word + bit) < mask.chance) bits |= 1 << bit;
      return bits;
    }),
);

/** As a device may err: sums in f32, each off by up to 1e-6 of it. */
function rough(evidence: Evidence, seed: number): Evidence {
  const err = (sum: number, i: number) => Math.fround(sum * (1 + (2 * uniform(seed, i) - 1) * 0.9e-6));
  const { sumExp, sumGaps, sumTempered } = evidence;
  return { ...evidence, sumExp: err(sumExp, 0), sumGaps: err(sumGaps, 1), sumTempered: err(sumTempered, 2), sumError: undefined };
}
function outcome<T>(run: () => T): T | "refused" {
  try {
    return run();
  } catch (error) {
    expect(error).toMatchObject({ code: "BACKEND" });
    return "refused";
  }
}

describe("evidence", () => {
  test("proves nothing, or what the whole row gives", () => {
    let decided = 0;
    const anyCase = { row: anyRow, options: anyOptions, said: anySaid, point: anyPoint, chance: share, allowed: anyMask };
    fc.assert(
      fc.property(
        fc.record({ ...anyCase, k: fc.constantFrom(1, 4, 16, 64, 256), seed: fc.nat() }),
        ({ row, options, said, point, chance, allowed, k, seed }) => {
          const asked = [...askedIds(options, said, row.length), 0, 9].filter((id) => id < row.length); // more may be asked for
          const evidence = rough(evidenceOf(row, k, { temperature: options.temperature ?? 0, asked }), seed);
          const found = outcome(() => draw(evidence, options, said, [point, chance], allowed));
          if (evidence.ids.length === evidence.count) expect(found).toBeDefined();
          if (found === undefined) return;
          decided++;
          expect(found).toBe(outcome(() => sampleRow(row, options, said, [point, chance], allowed)));
        },
      ),
      { numRuns: runs },
    );
    expect(decided).toBeGreaterThan(runs / 3);
  });

  test("proves more than 99 of 100 ordinary draws", () => {
    const said = { prompt: Array.from({ length: 200 }, (_, i) => 7 * i), answer: [1, 2, 3, 4, 5, 1, 2] };
    const settings: SamplingOptions[] = [
      { temperature: 0 },
      { temperature: 0.7, topP: 0.9 },
      { temperature: 0.7, topK: 40 },
      { temperature: 1, minP: 0.05 },
      { temperature: 1, topP: 0.9, repetitionPenalty: 1.1, frequencyPenalty: 0.2, logitBias: { 3: -100 } },
      { temperature: 1, typicalP: 0.5 },
      { temperature: 0.7, minP: 0.02, xtc: { probability: 1 } },
    ];
    const counts = settings.map(() => 0);
    for (let seed = 0; seed < 300; seed++) {
      // Zipf's law, with noise: the best has about a half, and those after the 256th have less than one in a hundred.
      const row = Float32Array.from({ length: 2048 }, (_, id) => -1.8 * Math.log(1 + ((id * 2741 + seed) % 2048)) + 0.3 * normal(seed, id));
      for (const [i, options] of settings.entries()) {
        const questions = { temperature: options.temperature!, asked: askedIds(options, said, row.length) };
        const evidence = rough(evidenceOf(row, 256, questions), seed);
        const found = draw(evidence, options, said, [uniform(seed, i), 0]);
        if (found === undefined) continue;
        counts[i]++;
        expect(found).toBe(sampleRow(row, options, said, [uniform(seed, i), 0]));
        expect(logprobsOf(evidence, found, 20)!.top.length).toBe(20);
      }
    }
    for (const count of counts) expect(count).toBeGreaterThan(297);
  });

  test("proves no draw by mass that a cut beyond the candidates takes away", () => {
    for (let seed = 0; seed < 200; seed++) {
      const row = Float32Array.from({ length: 200 }, (_, id) => kinds.spread(seed, id));
      for (const cut of [{ topK: 20 }, { topP: 0.9 }, { minP: 0.05 }]) {
        const options = { temperature: 10, ...cut };
        const found = draw(evidenceOf(row, 4, { temperature: 10, asked: [] }), options, nothing, [uniform(seed, 0) / 4, 0]);
        if (found !== undefined) expect(found).toBe(sampleRow(row, options, nothing, [uniform(seed, 0) / 4, 0]));
      }
    }
  });

  test("proves no typical set while either of two ids may be the more typical", () => {
    // Moves the best until it is as far from the entropy as the middle one is on the other side; all others are rare.
    const rowWith = (best: number) => Float32Array.of(best, 0, ...Array(40).fill(-2));
    const lead = (row: Float32Array) => {
      const { sumExp, sumGaps, max } = evidenceOf(row, 1, { temperature: 1, asked: [] });
      return sumGaps / sumExp - (max - 0) + sumGaps / sumExp;
    };
    let [low, high] = [0.5, 8];
    for (let i = 0; i < 60; i++) [low, high] = lead(rowWith((low + high) / 2)) > 0 ? [(low + high) / 2, high] : [low, (low + high) / 2];
    for (let seed = 0; seed < 50; seed++) {
      const row = rowWith(low * (1 + 1e-6 * normal(seed, 0)));
      const options = { temperature: 1, typicalP: 0.01 };
      const found = draw(rough(evidenceOf(row, 8, { temperature: 1, asked: [] }), seed), options, nothing, [0.5, 0]);
      if (found !== undefined) expect(found).toBe(sampleRow(row, options, nothing, [0.5, 0]));
    }
  });

  test("a format that allows few ids is proved by these alone, asked for or listed", () => {
    const row = Float32Array.from({ length: 600 }, (_, id) => normal(5, id));
    const allowed = new Int32Array(19);
    for (const id of [3, 64, 599]) allowed[id >> 5] |= 1 << (id & 31);
    for (let i = 0; i < 50; i++) {
      const evidence = evidenceOf(row, 1, { temperature: 1, asked: [3, 64, 599] });
      const found = draw(evidence, { temperature: 1 }, nothing, [i / 50, 0], allowed);
      expect(found).toBe(sampleRow(row, { temperature: 1 }, nothing, [i / 50, 0], allowed));
    }
  });
});

/** Every id that may be drawn with its weight, best first. `shift` moves all borders a little, to find those that rounding decides. */
function plainly(row: Float32Array, options: SamplingOptions, said: Said, chance: number, shift: number): [id: number, weight: number][] {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, typicalP = 1, xtc, logitBias = {} } = options;
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0 } = options;
  const logits = row.slice();
  for (const id of row.keys()) {
    const times = said.answer.filter((one) => one === id).length;
    logits[id] += logitBias[id] ?? 0;
    if (times > 0 || said.prompt.includes(id)) logits[id] *= logits[id] > 0 ? 1 / repetitionPenalty : repetitionPenalty;
    logits[id] -= times * frequencyPenalty + (times > 0 ? presencePenalty : 0);
  }
  const byLogit = (a: number, b: number) => logits[b] - logits[a] || a - b;
  let kept = [...row.keys()].filter((id) => Number.isFinite(logits[id])).sort(byLogit);
  if (temperature === 0) return [[kept[0], 1]];
  const shares = () => {
    const total = kept.reduce((sum, id) => sum + Math.exp(logits[id] - logits[kept[0]]), 0);
    return new Map(kept.map((id) => [id, Math.exp(logits[id] - logits[kept[0]]) / total]));
  };
  const fewest = (mass: number, p: Map<number, number>) => {
    let rest = mass + shift;
    const end = kept.findIndex((id) => {
      rest -= p.get(id)!;
      return rest <= 0;
    });
    kept = end < 0 ? kept : kept.slice(0, end + 1);
  };
  if (topK > 0) kept = kept.slice(0, topK);
  if (typicalP < 1) {
    const p = shares();
    const entropy = [...p.values()].reduce((sum, q) => sum - (q > 0 ? q * Math.log(q) : 0), 0) + shift;
    const distance = (id: number) => Math.abs(Math.log(p.get(kept[0])!) + logits[id] - logits[best] + entropy);
    const best = kept[0];
    kept = kept
      .map((id) => ({ id, far: distance(id) }))
      .sort((a, b) => a.far - b.far || a.id - b.id)
      .map(({ id }) => id);
    fewest(typicalP, p);
    kept.sort(byLogit);
  }
  if (topP < 1) fewest(topP, shares());
  if (minP > 0) {
    const p = shares();
    kept = kept.filter((id, i) => i === 0 || p.get(id)! / p.get(kept[0])! >= minP * (1 + shift));
  }
  if (xtc && chance < xtc.probability) {
    const p = shares();
    const top = kept.filter((id) => p.get(id)! >= (xtc.threshold ?? 0.1) + shift);
    const least = top.find((id) => p.get(id) === p.get(top.at(-1)!));
    if (top.length > 1) kept = kept.filter((id) => id === least || !top.includes(id));
  }
  return kept.map((id) => [id, Math.exp((logits[id] - logits[kept[0]]) / temperature)]);
}

/** The borders that a number of `options` may lie at: shares that the first so many ids reach, or that one of them has. */
function bordersOf(row: Float32Array, options: SamplingOptions, said: Said, aim: string): number[] {
  const all = plainly(row, aim === "point" ? options : { ...options, temperature: 1 }, said, 0, 0);
  const total = all.reduce((sum, [, weight]) => sum + weight, 0);
  const p = all.map(([, weight]) => weight / total).filter((q) => q > 0);
  if (aim === "threshold") return p;
  const entropy = p.reduce((sum, q) => sum - q * Math.log(q), 0);
  if (aim === "typicalP") p.sort((a, b) => Math.abs(Math.log(a) + entropy) - Math.abs(Math.log(b) + entropy));
  let sum = 0;
  return p.map((q) => {
    sum += q;
    return sum;
  });
}

test("evidence proves nothing where a border is closer than sums are known", () => {
  const penalties = fc.record(
    { repetitionPenalty: fc.constantFrom(0.5, 2), logitBias: fc.constant({ 1: 3, 5: -100 }) },
    { requiredKeys: [] },
  );
  const aims = fc.constantFrom("point", "topP", "threshold", "typicalP");
  fc.assert(
    fc.property(mildRow, penalties, anySaid, aims, fc.nat(12), fc.nat(), (row, rest, said, aim, at, seed) => {
      const options: SamplingOptions = { temperature: aim === "point" ? 0.7 : 20, ...rest };
      const borders = bordersOf(row, options, said, aim);
      const border = borders[Math.min(at, borders.length - 1)] * (1 + 1e-6 * (2 * uniform(seed, 3) - 1));
      if (border >= 1) return;
      const aimed = { ...options, [aim]: border, xtc: aim === "threshold" ? { probability: 1, threshold: border } : undefined };
      const questions = { temperature: options.temperature!, asked: askedIds(options, said, row.length) };
      const evidence = rough(evidenceOf(row, 64, questions), seed);
      // The first and the last of what is kept tell the sets apart.
      for (const point of aim === "point" ? [border] : [0, 0.5, 1 - 2 ** -53]) {
        const found = draw(evidence, aimed, said, [point, 0]);
        if (found !== undefined) expect(found).toBe(sampleRow(row, aimed, said, [point, 0]));
      }
    }),
    { numRuns: runs },
  );
});

test("a whole row gives each id as often as the plain way to say it", () => {
  const mild = anyOptions.map(({ dry: _, logitBias, ...options }) => ({
    ...options,
    logitBias: logitBias && Object.fromEntries(Object.entries(logitBias).filter(([, bias]) => Math.abs(bias) < 1000)),
  }));
  let compared = 0;
  fc.assert(
    fc.property(mildRow, mild, anySaid, share, (row, options, said, chance) => {
      const [expected, ...shifted] = [0, 1e-9, -1e-9].map((shift) => plainly(row, options, said, chance, shift));
      if (shifted.some((other) => String(other.map(([id]) => id)) !== String(expected.map(([id]) => id)))) return;
      compared++;
      const total = expected.reduce((sum, [, weight]) => sum + weight, 0);
      let before = 0;
      for (const [id, weight] of expected.slice(0, 40)) {
        if (weight / total > 1e-6)
          for (const part of [0.01, 0.99]) expect(sampleRow(row, options, said, [(before + part * weight) / total, chance])).toBe(id);
        before += weight;
      }
    }),
    { numRuns: runs / 10 },
  );
  expect(compared).toBeGreaterThan(runs / 20);
});
