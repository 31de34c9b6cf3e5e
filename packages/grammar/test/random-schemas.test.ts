import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { expect, test } from "vitest";
import { Admission, openBytes } from "./byte-grammar.ts";
import { randomNumbers, randomSchema } from "./random-schemas.ts";

const schemas = Number(process.env.RANDOM_SCHEMAS ?? 150);
const seed = Number(process.env.RANDOM_SEED ?? 25);

test("what grammars of random schemas admit is valid", async () => {
  const vocabulary = openBytes();
  const random = randomNumbers(seed);
  const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 9 });
  addFormats.default(ajv);
  const wrong: string[] = [];
  const ended = { schemas: 0, texts: 0 };
  for (let i = 0; i < schemas; i++) {
    const schema = randomSchema(random);
    // Refused, or without any value.
    const admission = await Admission.of(vocabulary, schema).catch(() => undefined);
    if (!admission) continue;
    const isValid = ajv.compile(schema);
    ended.schemas++;
    for (let walk = 0; walk < 4; walk++) {
      const text = await admission.draw(random, 300);
      if (text === undefined) continue;
      ended.texts++;
      if (!isValid(JSON.parse(text))) wrong.push(`${JSON.stringify(schema)} ${text} ${JSON.stringify(isValid.errors?.[0])}`);
    }
  }
  vocabulary.dispose();
  expect(wrong).toEqual([]);
  // As many as show something.
  expect(ended.schemas).toBeGreaterThan(schemas * 0.5);
  expect(ended.texts).toBeGreaterThan(ended.schemas * 2);
});
