// What the environment says about the hub, read as Python's huggingface_hub reads it.

import { JambaError } from "@jamba/core";
import { ifAbsent, type Node } from "./node.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly cacheDir: string;
  readonly offline: boolean;
  readonly token?: string;
}

export interface HubOptions {
  readonly endpoint?: string;
  readonly cacheDir?: string;
  readonly offline?: boolean;
  readonly token?: string;
}

const isTrue = (text = "") => /^(1|on|yes|true)$/i.test(text);

/** @throws JambaError "OPTION" */
export async function hubSettings(options: HubOptions, env: Environment, { files, os, paths }: Node): Promise<HubSettings> {
  for (const name of ["endpoint", "cacheDir", "token"] as const) {
    const value: unknown = options[name];
    if (value === undefined || (typeof value === "string" && (value !== "" || name === "token"))) continue;
    throw new JambaError("OPTION", `${name}: expected a text, found ${value === "" ? "an empty one" : typeof value}`);
  }
  const home = (path: string) => path.replace(/^~(?=[/\\]|$)/, () => os.homedir());
  const expanded = (path: string) => home(path).replace(/\$(?:\{(\w+)\}|(\w+))/g, (text, braced, bare) => env[braced ?? bare] ?? text);
  const hfHome = expanded(env.HF_HOME ?? paths.join(env.XDG_CACHE_HOME ?? paths.join(os.homedir(), ".cache"), "huggingface"));
  const cacheDir = env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? paths.join(hfHome, "hub");
  const offline = options.offline ?? isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE);
  const endpoint = checkEndpoint(options.endpoint ?? (env.HF_ENDPOINT || "https://huggingface.co"));
  const implicit = async () => {
    if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
    const found = clean(env.HF_TOKEN) ?? clean(env.HUGGING_FACE_HUB_TOKEN);
    if (found !== undefined) return found;
    return clean(await files.readFile(expanded(env.HF_TOKEN_PATH ?? paths.join(hfHome, "token")), "utf8").catch(ifAbsent));
  };
  return {
    endpoint,
    cacheDir: paths.resolve(options.cacheDir === undefined ? expanded(cacheDir) : home(options.cacheDir)),
    offline,
    token: offline ? undefined : checkToken(clean(options.token) ?? (await implicit())),
  };
}

function clean(text?: string): string | undefined {
  return text?.trim() || undefined;
}

function checkToken(token: string | undefined): string | undefined {
  // Never repeated in the error: it may be a real one with a stray character.
  if (token === undefined || /^[\x21-\x7e]+$/.test(token)) return token;
  throw new JambaError("OPTION", "token: expected letters, digits and signs, found other characters; see HF_TOKEN or the token file");
}

function checkEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol) && !url.search && !url.hash && !url.username) return text.replace(/\/+$/, "");
  throw new JambaError(
    "OPTION",
    `endpoint: expected an http(s) URL such as https://huggingface.co, found ${JSON.stringify(text)}; see HF_ENDPOINT`,
  );
}
