import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { type Environment, type HubOptions, hubSettings } from "./environment.ts";
import { node } from "./node.ts";

const settings = async (env: Environment = {}, options: HubOptions = {}) => hubSettings(options, env, await node());
const standard = join(homedir(), ".cache", "huggingface");

it.each<[Environment, HubOptions, string]>([
  [{}, {}, join(standard, "hub")],
  [{ XDG_CACHE_HOME: "/x" }, {}, "/x/huggingface/hub"],
  [{ HF_HOME: "/h", XDG_CACHE_HOME: "/x" }, {}, "/h/hub"],
  [{ HUGGINGFACE_HUB_CACHE: "/old", HF_HOME: "/h" }, {}, "/old"],
  [{ HF_HUB_CACHE: "/c", HUGGINGFACE_HUB_CACHE: "/old", HF_HOME: "/h" }, {}, "/c"],
  [{ HF_HUB_CACHE: "/c" }, { cacheDir: "/mine" }, "/mine"],
  [{ HF_HOME: "~/h" }, {}, join(homedir(), "h/hub")],
  [{ HF_HUB_CACHE: "$DISK/$" + "{NAME}/$unset", DISK: "/d", NAME: "n" }, {}, "/d/n/$unset"],
  [{}, { cacheDir: "~/mine" }, join(homedir(), "mine")],
])("%j and %j keep models in %s", async (env, options, expected) => {
  expect((await settings(env, options)).cacheDir).toBe(expected);
});

it.each<[Environment, boolean]>([
  [{}, false],
  [{ HF_HUB_OFFLINE: "1" }, true],
  [{ HF_HUB_OFFLINE: "True" }, true],
  [{ HF_HUB_OFFLINE: "ON" }, true],
  [{ HF_HUB_OFFLINE: "0" }, false],
  [{ HF_HUB_OFFLINE: "", TRANSFORMERS_OFFLINE: "yes" }, true],
])("%j is offline: %s", async (env, offline) => {
  expect((await settings(env)).offline).toBe(offline);
});

it("the token is the option, HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the file that a login left", async () => {
  const home = await mkdtemp(join(tmpdir(), "jamba-home-"));
  try {
    await writeFile(join(home, "token"), " hf_file\n");
    await writeFile(join(home, "other"), "hf_other");
    const old = { HF_HOME: home, HUGGING_FACE_HUB_TOKEN: "hf_old" };
    expect((await settings({ ...old, HF_TOKEN: "hf_env" }, { token: "hf_mine" })).token).toBe("hf_mine");
    expect((await settings({ ...old, HF_TOKEN: "hf_env\r\n" })).token).toBe("hf_env");
    expect((await settings({ ...old, HF_TOKEN: "" })).token).toBe("hf_old");
    expect((await settings({ HF_HOME: home })).token).toBe("hf_file");
    expect((await settings({ HF_HOME: home, HF_TOKEN_PATH: "$HF_HOME/other" })).token).toBe("hf_other");
    expect((await settings({ HF_HOME: home, HF_TOKEN_PATH: join(home, "none") })).token).toBeUndefined();
    expect((await settings({ HF_HOME: home, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).token).toBeUndefined();
    expect((await settings({ ...old, HF_HUB_OFFLINE: "1" })).token).toBeUndefined();
  } finally {
    await rm(home, { recursive: true });
  }
});

it("a token with stray characters is refused without being repeated", async () => {
  const error = await settings({ HF_TOKEN: "hf_secret\nx: y" }).catch((error) => error);
  expect([error.code, error.message]).toEqual(["OPTION", expect.not.stringContaining("secret")]);
});

it.each([["ftp://x"], ["hub.example"], ["https://x?y=1"], ["https://user@x"]])("%s is no endpoint", async (endpoint) => {
  await expect(settings({ HF_ENDPOINT: endpoint, HF_HOME: "/none" })).rejects.toMatchObject({ code: "OPTION" });
});

it("the endpoint is the option, HF_ENDPOINT or huggingface.co, without a slash at its end", async () => {
  const env = { HF_HOME: "/none" };
  expect((await settings(env)).endpoint).toBe("https://huggingface.co");
  expect((await settings({ ...env, HF_ENDPOINT: "http://mirror/hub/" })).endpoint).toBe("http://mirror/hub");
  expect((await settings({ ...env, HF_ENDPOINT: "http://mirror" }, { endpoint: "http://mine//" })).endpoint).toBe("http://mine");
});

it.each([[{ cacheDir: "" }], [{ cacheDir: 3 }], [{ token: {} }], [{ endpoint: null }]])("%j is refused", async (options) => {
  await expect(settings({}, options as HubOptions)).rejects.toMatchObject({ code: "OPTION" });
});
