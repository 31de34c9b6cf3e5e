// Whatever a model says, an answer of a strict schema satisfies it: real schemas, random walks, and the small model at its wildest.

import { existsSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import Ajv from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type JambaModel, loadModel } from "../src/index.ts";

const file = new URL("../../../../shared/json-schemas/real-world.jsonl.gz", import.meta.url);
/** Of each kind. */
const walks = Number(process.env.JAMBA_FUZZ_CALLS ?? 30);

let model: JambaModel;
let schemas: { name: string; schema: object }[] = [];
beforeAll(async () => {
  model = await loadModel("tiny");
  if (existsSync(file))
    schemas = gunzipSync(readFileSync(file))
      .toString()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
});
afterAll(() => model.dispose());

/** @returns undefined for a schema that ajv itself does not take */
function judge(schema: object): ((value: unknown) => boolean) | undefined {
  const { $schema = "" } = schema as { $schema?: string };
  const ajv = new (/2019|2020/.test($schema) ? Ajv2020 : Ajv)({ strict: false, validateFormats: true, logger: false });
  formats.default(ajv as never);
  try {
    return ajv.compile({ ...schema, $schema: undefined, ...("id" in schema && { id: undefined }) });
  } catch {
    return undefined;
  }
}

describe("an answer of a real schema", () => {
  beforeEach(({ skip }) => skip(schemas.length === 0, "no real schemas beside the project"));

  test.each([
    ["all logits equal, or nearly", { temperature: 100 }],
    ["the small model at temperature 1.5", { temperature: 1.5 }],
  ])("satisfies it: %s", async (_, options) => {
    let ended = 0;
    let refused = 0;
    for (let i = 0; i < walks; i++) {
      const { name, schema } = schemas[(i * 7919) % schemas.length];
      const valid = judge(schema);
      if (!valid) continue;
      // A wish to come to an end, as a trained model has.
      const closing = model.tokenizer.encode('"}]').map((id) => [id, 4]);
      const answer = await model
        .generate([{ role: "user", content: "Say something." }], {
          ...options,
          seed: i,
          maxTokens: 400,
          logitBias: Object.fromEntries(closing),
          format: { type: "json", schema, strict: true },
        })
        .catch((error) => {
          expect(error).toMatchObject({ code: "OPTION" });
          refused++;
        });
      if (answer?.finishReason !== "stop") continue;
      ended++;
      expect({ name, text: answer.content, valid: valid(JSON.parse(answer.content)) }).toMatchObject({ valid: true });
    }
    expect(ended).toBeGreaterThan(walks / 4);
    expect(refused).toBeLessThan(walks / 5);
  });
});
