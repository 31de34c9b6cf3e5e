// What is given as a model and is none: said so with what to give instead, whoever was asked.

import { describe, expect, test } from "vitest";
import { JambaError, loadModel, planMemory, prepareModel, quantizeModel } from "../src/index.ts";
import { goldenFolder } from "./golden.ts";

describe("what is no source is answered with an example of each kind", () => {
  test.each<[what: string, source: unknown, found: RegExp]>([
    ["nothing", undefined, /found nothing\./],
    ["null", null, /found null\./],
    ["an empty text", "", /an empty text/],
    ["white space", " \n", /an empty text/],
    ["a number", 42, /found 42\./],
    ["true", true, /found true/],
    ["a symbol", Symbol("tiny"), /Symbol\(tiny\)/],
    ["a function", () => "tiny", /a function/],
    ["an empty object", {}, /an object with nothing in it/],
    ["an object", { model: "tiny" }, /an object with model\./],
    ["an empty array", [], /an empty array/],
    ["a promise", Promise.resolve("tiny"), /a promise; await it first/],
    ["a URL object", new URL("https://example.com/jamba.gguf"), /a URL object; pass its href/],
    ["a file URL", "file:///models/jamba", /file:\/\/\/models\/jamba, which is no http URL/],
    ["another URL", "ftp://example.com/jamba", /no http URL/],
    ["a blob", new Blob(["x"]), /one file; put it in an array/],
    ["bytes", new Uint8Array(4), /bytes; wrap them/],
    ["a buffer", new ArrayBuffer(4), /bytes; wrap them/],
  ])("%s", async (_, source, found) => {
    const calls = [
      () => (source === undefined ? (loadModel as () => Promise<unknown>)() : loadModel(source as never)),
      () => prepareModel(source as never, "./nowhere", { dtype: "q4" }),
      () => quantizeModel(source as never, "./nowhere.gguf", { dtype: "q4_k_m" }),
      // An object may be what a config.json says.
      ...(typeof source === "object" && source?.constructor === Object ? [] : [() => planMemory(source as never)]),
    ];
    for (const call of calls) {
      const error = await call().catch((error: JambaError) => error);
      if (!(error instanceof JambaError)) throw new Error("expected a refusal, found none");
      expect([error.code, error.name]).toEqual(["OPTION", "JambaError"]);
      expect(error.message).toMatch(found);
      for (const kind of ['"tiny"', '"ai21labs/AI21-Jamba-Reasoning-3B"', '"./models/jamba"', '"./jamba.gguf"', '"https://', "input.files"])
        expect(error.message).toContain(kind);
    }
  });

  test("a model that is loaded already", async () => {
    await using model = await loadModel(goldenFolder("base"));
    await expect(loadModel(model as never)).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/loaded already/) });
  });

  test.each([["nope"], ["Tiny"], ["./nowhere"], ["nope.gguf"], ["models/a/b"]])(
    "%s, which is not there, is said to be absent",
    async (path) => {
      const error = await loadModel(path).catch((error) => error);
      expect(error).toMatchObject({ code: "LOAD", message: expect.stringContaining(`${path}: expected a directory`) });
      expect(error.message.includes("owner/name")).toBe(/^\w+$/.test(path));
    },
  );

  test.each([[5], ["cpu"], [null]])("%j for options is refused", async (options) => {
    await expect(loadModel("tiny", options as never)).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(/^options: /),
    });
  });
});
