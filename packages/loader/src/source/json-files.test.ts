import { afterEach, expect, it, vi } from "vitest";
import { urlFolder } from "./folder.ts";
import { readTokenizerConfig } from "./json-files.ts";

afterEach(() => vi.unstubAllGlobals());

/** A server that can't be listed. */
function serve(files: Readonly<Record<string, string>>): string[] {
  const asked: string[] = [];
  vi.stubGlobal("fetch", async (url: string | URL) => {
    const { pathname } = new URL(url);
    asked.push(pathname);
    const content = files[pathname.replace("/model/", "")];
    return content === undefined ? new Response(null, { status: 404 }) : new Response(content);
  });
  return asked;
}

it("where nothing can be listed, the template for tools is asked for by its name", async () => {
  const asked = serve({
    "tokenizer_config.json": '{"t": 1, "chat_template": "own"}',
    "chat_template.jinja": "D",
    "additional_chat_templates/tool_use.jinja": "T",
  });
  expect(await readTokenizerConfig(await urlFolder("http://127.0.0.1/model/"))).toEqual({
    t: 1,
    chat_template: [
      { name: "default", template: "D" },
      { name: "tool_use", template: "T" },
    ],
  });
  expect(asked).toContain("/model/additional_chat_templates/tool_use.jinja");
});

it("where it is not there the others are as they are", async () => {
  serve({ "tokenizer_config.json": '{"chat_template": "own"}' });
  expect(await readTokenizerConfig(await urlFolder("http://127.0.0.1/model/"))).toEqual({ chat_template: "own" });
  serve({ "chat_template.json": '{"chat_template": "from json"}' });
  expect(await readTokenizerConfig(await urlFolder("http://127.0.0.1/model/"))).toEqual({ chat_template: "from json" });
});
