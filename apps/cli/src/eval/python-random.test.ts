import { describe, expect, test } from "vitest";
import { PythonRandom } from "./python-random.ts";

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

describe("what CPython 3.11 draws", () => {
  test("from the seed 1234, one thing after the other", () => {
    const random = new PythonRandom(1234);
    expect([random.bits(32), random.bits(32), random.bits(32)]).toEqual([4150886329, 3342196574, 1892932127]);
    random.bits(32); // random() takes two words
    random.bits(32);
    expect(random.sample(upTo(100), 5)).toEqual([11, 74, 4, 85, 88]);
    expect(random.sample(upTo(10), 6)).toEqual([1, 9, 5, 8, 0, 7]);
    expect(random.sample(upTo(1000), 30)).toEqual([
      807, 16, 354, 663, 638, 495, 630, 474, 152, 93, 187, 730, 117, 865, 14, 515, 498, 901, 988, 255, 66, 683, 554, 934, 477, 70, 615, 691,
      91, 527,
    ]);
    expect(random.shuffle(upTo(10))).toEqual([5, 3, 1, 2, 8, 7, 6, 4, 0, 9]);
    expect(random.choice("abcdef")).toBe("c");
  });

  test("from other seeds", () => {
    const drawn = (seed: number) => new PythonRandom(seed).sample(upTo(500), 4);
    expect([0, 1, 42, 2 ** 32 - 1].map(drawn)).toEqual([
      [432, 197, 388, 455],
      [68, 291, 433, 410],
      [327, 57, 12, 379],
      [325, 317, 104, 110],
    ]);
  });
});
