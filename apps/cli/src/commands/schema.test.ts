import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { jamba } from "../../test/jamba.ts";

const folder = mkdtempSync(join(tmpdir(), "schema-"));
afterAll(() => rmSync(folder, { recursive: true }));

function written(value: unknown): string {
  const file = join(mkdtempSync(join(folder, "a-")), "given.json");
  writeFileSync(file, typeof value === "string" ? value : JSON.stringify(value));
  return file;
}

const person = { type: "object", properties: { name: { type: "string" }, age: { type: "integer" } }, required: ["name"] };
const tags = { type: "array", items: { type: "string" }, uniqueItems: true };
const loose = { type: "object", properties: { tags, code: { type: "string", format: "colour" } }, required: ["tags"] };

describe("jamba schema", () => {
  test("says that all is enforced, and what it cost", async () => {
    const { code, stdout, stderr } = await jamba(["schema", written(person)]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(
      /^schema\n {2}all of it is enforced\n {2}prepared in [\d.]+ ms, compiled in [\d.]+ ms, \d+ characters of\s+grammar\n$/,
    );
    expect((await jamba(["schema", "-q"], { input: JSON.stringify(person) })).stdout).toBe("schema\n  all of it is enforced\n");
  });

  test("says what is not enforced and why; with --strict that is refused", async () => {
    const paths = ["schema.properties.tags.uniqueItems", "schema.properties.code.format"];
    const { code, stdout } = await jamba(["schema", written(loose), "--json"]);
    const { model, schemas } = JSON.parse(stdout);
    expect([code, model, schemas.length]).toEqual([0, "tiny", 1]);
    expect(schemas[0]).toMatchObject({ name: "schema", strict: false, enforced: false, compileMs: expect.any(Number) });
    expect(schemas[0].notEnforced.map(({ path }: { path: string }) => path).sort()).toEqual(paths.sort());
    for (const { reason } of schemas[0].notEnforced) expect(reason).toMatch(/^\w/);
    const strict = await jamba(["schema", written(loose), "--strict"]);
    expect(strict.code).toBe(1);
    for (const path of paths) expect(strict.stdout).toContain(`not enforced: ${path}: expected `);
    expect(strict.stdout).toMatch(/^schema\n {2}refused: schema\.properties\.\w+\.\w+: expected /);
    expect((await jamba(["schema", written(person), "--strict"])).code).toBe(0);
  });

  test("refuses a schema that is wrong, by the place of the fault", async () => {
    const { code, stdout } = await jamba(["schema", "-", "--json"], { input: '{"properties":{"a":{"type":7}}}' });
    expect([code, JSON.parse(stdout).schemas]).toEqual([
      1,
      [expect.objectContaining({ refused: expect.stringMatching(/^schema\.properties\.a\.type: expected .*7/), enforced: false })],
    ]);
  });

  test("takes tools in each form, and a request, by their places; strict where they say so", async () => {
    const wrapped = [
      { type: "function", function: { name: "a", parameters: person } },
      { type: "function", function: { name: "b", parameters: loose, strict: true } },
    ];
    const flat = [{ type: "function", name: "a", parameters: person }, { type: "web_search" }, { name: "c", input_schema: person }];
    const request = { messages: [], tools: wrapped, response_format: { type: "json_schema", json_schema: { name: "x", schema: person } } };
    const forms: [given: unknown, names: string[], code: number][] = [
      [{ tools: wrapped }, ["tools[0].function.parameters", "tools[1].function.parameters"], 1],
      [wrapped.slice(0, 1), ["[0].function.parameters"], 0],
      [flat, ["[0].parameters", "[2].input_schema"], 0],
      [request, ["response_format.json_schema.schema", "tools[0].function.parameters", "tools[1].function.parameters"], 1],
    ];
    for (const [given, names, expected] of forms) {
      const { code, stdout } = await jamba(["schema", written(given), "--json"]);
      const { schemas } = JSON.parse(stdout);
      expect([code, schemas.map(({ name }: { name: string }) => name)]).toEqual([expected, names]);
      for (const { name, strict, refused = "" } of schemas) expect([name, strict, refused !== ""]).toEqual([name, refused !== "", strict]);
    }
  });

  test("--accepts tries an answer, however it is spaced, and says how much of it fits", async () => {
    const file = written(person);
    const pretty = written('{\n  "name": "a, b:c \\" d",\n  "age": 3\n}\n');
    expect(await jamba(["schema", file, "--accepts", pretty])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/the answer fits\n$/),
    });
    const { code, stdout } = await jamba(["schema", file, "--accepts", '{"name":"Mia","age":"x"}', "--json"]);
    expect([code, JSON.parse(stdout).schemas[0]]).toEqual([
      1,
      expect.objectContaining({ enforced: true, accepted: false, fits: '{"name": "Mia", "age": ' }),
    ]);
    expect(await jamba(["schema", file, "--accepts", "{"])).toMatchObject({ code: 1, stdout: expect.stringContaining('behind "{"') });
  });

  test.each([
    [["schema", "/no/such"], /schema: expected a text file/],
    [["schema", "-"], /schema: expected JSON/],
    [["schema", written([])], /expected a schema, or tools with parameters/],
    [["schema", written([7])], /expected tools with parameters, found 7 at \[0\]/],
    [["schema", "a", "b"], /expected one file/],
    [
      [
        "schema",
        written([
          { name: "a", parameters: {} },
          { name: "b", parameters: {} },
        ]),
        "--accepts",
        "{}",
      ],
      /--accepts: expected one schema/,
    ],
    [["schema", written(person), "--model", "./no/such"], /./],
  ])("%j is a usage error", async (args, message) => {
    expect(await jamba(args)).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(message) });
  });
});
