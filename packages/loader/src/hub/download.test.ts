import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hubForTests } from "../../../../tooling/hub/hub-for-tests.ts";
import { cutAfter, etagOf, type Hub, type HubRequest, rangeOf, type StoredFile } from "../../../../tooling/hub/hub-server.ts";
import { openCheckpoint } from "../checkpoint.ts";
import { type DownloadOptions, type DownloadProgress, downloadIn, type Surroundings } from "./download.ts";

const fixture = fileURLToPath(new URL("../../../../tooling/golden/fixtures/base", import.meta.url));
const text = (value: unknown) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const weights: StoredFile = { bytes: randomBytes(1000), lfs: true };
const config = text({ model_type: "jamba" });
const id = "owner/model";

const hub = await hubForTests();
let cacheDir: string;
/** What the client would have waited, in milliseconds. */
let waits: number[];

beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), "jamba-hub-"));
  waits = [];
  hub.add(id, { "config.json": config, "model.safetensors": weights });
});
afterEach(() => rm(cacheDir, { recursive: true, force: true }));

const wait = async (ms: number, signal?: AbortSignal) => {
  waits.push(ms);
  signal?.throwIfAborted();
  await new Promise((resolve) => setTimeout(resolve, 1));
  signal?.throwIfAborted();
};

function get(name = id, options: DownloadOptions = {}, around: Surroundings = {}) {
  return downloadIn({ env: {}, wait, ...around }, name, { endpoint: hub.endpoint, cacheDir, ...options });
}

const refused = (promise: Promise<unknown>) =>
  promise.then(
    () => Promise.reject(new Error("expected a refusal")),
    (error) => error as Error & { code: string },
  );
/** For faults: that an answer was given. */
const sent = (_response: unknown) => true;
const isFile = ({ server, path }: HubRequest) => server === "cdn" || path.includes("/resolve/");
const blobsOf = async (name = id) => (await readdir(join(cacheDir, `models--${name.replace("/", "--")}`, "blobs"))).sort();
const bytesAt = (folder: string, file: string) => readFile(join(folder, file));
/** Files of `cacheDir` that a download should not leave behind. */
const leftovers = async () => (await readdir(cacheDir, { recursive: true })).filter((path) => /jamba/.test(path));

describe("what is fetched", () => {
  it("is a model that opens, in the layout of Python's cache", async () => {
    const files = Object.fromEntries(
      await Promise.all(
        ["config.json", "model.safetensors"].map(async (name) => {
          const bytes = await readFile(join(fixture, name));
          return [name, { bytes, lfs: name !== "config.json" }] as const;
        }),
      ),
    );
    const commit = hub.add("owner/base", { ...files, "pytorch_model.bin": text("no"), "original/model.safetensors": text("no") });
    const found = await get("owner/base");
    const root = join(cacheDir, "models--owner--base");
    expect(found).toEqual({
      folder: join(root, "snapshots", commit),
      files: ["config.json", "model.safetensors"],
      commit,
      totalBytes: files["config.json"].bytes.length + files["model.safetensors"].bytes.length,
      fetchedBytes: files["config.json"].bytes.length + files["model.safetensors"].bytes.length,
    });
    await using checkpoint = await openCheckpoint(found.folder);
    expect(checkpoint.tensors.size).toBeGreaterThan(10);
    expect(await readlink(join(found.folder, "model.safetensors"))).toBe(`../../blobs/${etagOf(files["model.safetensors"])}`);
    expect(await blobsOf("owner/base")).toEqual(Object.values(files).map(etagOf).sort());
    expect(await readFile(join(root, "refs", "main"), "utf8")).toBe(commit);
    expect(hub.requests.filter(isFile).some(({ path }) => /bin|original/.test(path))).toBe(false);
  });

  it("is, of a model in shards, what the index names, from a list in pages", async () => {
    hub.pageSize = 2;
    const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    hub.add(id, {
      "a.bin": config,
      "config.json": config,
      "tokenizer.json": text("{}"),
      "chat_template.jinja": text("x"),
      "additional_chat_templates/tool_use.jinja": text("y"),
      "model.safetensors.index.json": text({ weight_map: { a: shards[1], b: shards[0], c: shards[1] } }),
      [shards[0]]: weights,
      [shards[1]]: { bytes: randomBytes(500), lfs: true },
      "model-00003-of-00003.safetensors": weights,
      "README.md": text("# x"),
    });
    const reports: DownloadProgress[] = [];
    const { files, totalBytes } = await get(id, { onProgress: (report) => reports.push(report) });
    const templates = ["chat_template.jinja", "additional_chat_templates/tool_use.jinja"];
    expect(files).toEqual(["config.json", "tokenizer.json", ...templates, "model.safetensors.index.json", ...shards]);
    expect(new Set(reports.map((report) => report.totalBytes))).toEqual(new Set([totalBytes]));
  });

  it("is one .gguf by name or by tag, or the only one", async () => {
    const gguf = (fill: number): StoredFile => ({ bytes: new Uint8Array(10).fill(fill), lfs: true });
    hub.add(id, {
      "m-Q4_K_M.gguf": gguf(1),
      "m-Q4_K_S.gguf": gguf(2),
      "q8/m-Q8_0-00001-of-00002.gguf": gguf(3),
      "q8/m-Q8_0-00002-of-00002.gguf": gguf(4),
    });
    expect(await get(`${id}:m-Q4_K_M.gguf`)).toMatchObject({ file: "m-Q4_K_M.gguf", files: ["m-Q4_K_M.gguf"], fetchedBytes: 10 });
    expect(await get(`${id}:q4_k_s`)).toMatchObject({ file: "m-Q4_K_S.gguf", fetchedBytes: 10 });
    const split = await get(`${id}:Q8_0`);
    expect(split).toMatchObject({ file: "q8/m-Q8_0-00001-of-00002.gguf", fetchedBytes: 20 });
    expect(await readlink(join(split.folder, split.files[1]))).toMatch(/^\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
    const error = await refused(get());
    expect(error.message).toMatch(/expected one model without safetensors, found m-Q4_K_M\.gguf \(0\.000 GB\), m-Q4_K_S\.gguf/);
    hub.add("owner/one", { "only.gguf": gguf(5), "README.md": text("x") });
    expect(await get("owner/one")).toMatchObject({ file: "only.gguf", files: ["only.gguf"] });
  });

  it("is nothing the second time but the list of files, and only what changed after a commit", async () => {
    await get();
    hub.requests.length = 0;
    expect(await get()).toMatchObject({ fetchedBytes: 0, totalBytes: config.length + 1000 });
    expect(hub.requests.filter(isFile)).toEqual([]);
    const changed = text({ model_type: "jamba", changed: true });
    const commit = hub.add(id, { "config.json": changed, "model.safetensors": weights });
    expect(await get()).toMatchObject({ fetchedBytes: changed.length, commit });
    expect(await get(id, { revision: commit, offline: true })).toMatchObject({ commit });
  });

  it("takes empty files and names that URLs escape", async () => {
    hub.add(id, { "config.json": config, "generation_config.json": new Uint8Array(), "a b#?%é.safetensors": weights });
    const { folder, files } = await get();
    expect(await bytesAt(folder, files[2])).toEqual(weights.bytes);
    expect(await bytesAt(folder, "generation_config.json")).toHaveLength(0);
  });

  it("comes from a revision with slashes, and may name a commit without asking for it", async () => {
    const { commit } = await get(id, { revision: "refs/pr/1" });
    expect(await readFile(join(cacheDir, "models--owner--model/refs/refs/pr/1"), "utf8")).toBe(commit);
    hub.requests.length = 0;
    await get(id, { revision: commit });
    expect(hub.requests.map(({ path }) => path)).toEqual([`/api/models/${id}/tree/${commit}`]);
  });

  it.each([["link" as const], ["copy" as const]])("lies there as a %s where symlinks are not allowed", async (kind) => {
    const { folder } = await get(id, {}, { links: [kind] });
    expect((await lstat(join(folder, "model.safetensors"))).isFile()).toBe(true);
    expect(await bytesAt(folder, "model.safetensors")).toEqual(weights.bytes);
    expect(await get(id, {}, { links: [kind] })).toMatchObject({ fetchedBytes: 0 });
    expect(await leftovers()).toEqual([]);
  });
});

describe("a broken connection", () => {
  it("goes on where it was cut, after every number of bytes", async () => {
    const small: StoredFile = { bytes: randomBytes(40), lfs: true };
    for (let count = 0; count <= small.bytes.length; count++) {
      hub.add(id, { "config.json": config, "model.safetensors": small });
      hub.sentBytes = 0;
      hub.fault = (request, response, file) =>
        request.server === "cdn" && request.count === 0 ? cutAfter(hub, request, response, file!, count) : undefined;
      const dir = join(cacheDir, String(count));
      // A path of its own for each count, since the server counts requests by path.
      small.bytes[0] = count;
      hub.add(id, { "config.json": config, "model.safetensors": small });
      const { folder, fetchedBytes } = await get(id, { cacheDir: dir });
      expect(await bytesAt(folder, "model.safetensors")).toEqual(small.bytes);
      expect([hub.sentBytes, fetchedBytes]).toEqual([40 + config.length, 40 + config.length]);
    }
  });

  it("costs one attempt only while bytes come, and ends after five without any", async () => {
    hub.fault = (request, response, file) => (request.server === "cdn" ? cutAfter(hub, request, response, file!, 100) : undefined);
    expect(await get()).toMatchObject({ fetchedBytes: 1000 + config.length });
    hub.fault = (request, response, file) => (request.server === "cdn" ? cutAfter(hub, request, response, file!, 0) : undefined);
    waits = [];
    const error = await refused(get(id, { cacheDir: join(cacheDir, "other") }));
    expect([error.code, waits.length]).toEqual(["LOAD", 4]);
    expect(error.message).toMatch(/gave up after 5 attempts/);
    expect(waits.every((ms, i) => ms >= 250 * 2 ** i && ms <= 500 * 2 ** i)).toBe(true);
  });

  it("that goes silent is cut by the client", async () => {
    hub.fault = ({ server, count }, response) => {
      if (server !== "cdn" || count > 1) return false;
      if (count === 1) response.writeHead(200, { "content-length": "1000" }).write(weights.bytes.subarray(0, 10));
      return true;
    };
    expect(await get(id, {}, { idleMs: 300 })).toMatchObject({ fetchedBytes: 1000 + config.length });
    hub.fault = () => true;
    expect((await refused(get(id, {}, { idleMs: 20 }))).message).toMatch(/silent for 0\.02 s; gave up after 5/);
  });

  it("that sends a byte now and then is given up", async () => {
    let drops = 0;
    hub.fault = ({ server, range }, response) => {
      if (server !== "cdn") return false;
      const { first, last } = rangeOf(range, 1000);
      response.writeHead(206, { "content-range": `bytes ${first}-${last}/1000` });
      let at = first;
      const timer = setInterval(() => {
        drops++;
        if (at <= last) response.write(weights.bytes.subarray(at, ++at));
        else response.end();
      }, 10);
      response.once("close", () => clearInterval(timer));
      return true;
    };
    const error = await refused(get(id, {}, { idleMs: 100 }));
    expect([error.code, error.message]).toEqual(["LOAD", expect.stringMatching(/less than 1024 bytes a second.*gave up after 5/)]);
    expect(drops).toBeLessThan(900);
    await expect(get(id, { leastBytesPerSecond: Number.NaN })).rejects.toMatchObject({ code: "OPTION" });
  });

  it("keeps what was fetched in parts, and the next process fetches only the rest", async () => {
    let open = 550;
    hub.fault = (request, response, file) => {
      if (request.server !== "cdn") return false;
      const { first, last } = rangeOf(request.range, 1000);
      const allowed = Math.min(open, last - first + 1);
      open -= allowed;
      return allowed <= last - first ? cutAfter(hub, request, response, file!, allowed) : undefined;
    };
    await refused(get(id, {}, { partBytes: 100 }));
    hub.fault = undefined;
    const first = hub.sentBytes;
    const { folder, fetchedBytes } = await get(id, {}, { partBytes: 100 });
    expect([first, fetchedBytes]).toEqual([550 + config.length, 450]);
    expect(await bytesAt(folder, "model.safetensors")).toEqual(weights.bytes);
    expect(await leftovers()).toEqual([]);
  });

  it("before the list of files says so, and that the cache has the model", async () => {
    const { commit } = await get();
    hub.fault = (_, response) => {
      response.destroy();
      return true;
    };
    const error = await refused(get());
    expect(error.message).toContain(`the cache has main as it was at commit ${commit}: pass offline: true`);
    expect((await refused(get(id, { cacheDir: join(cacheDir, "empty") }))).message).not.toContain("offline");
  });
});

describe("a server that is wrong", () => {
  const onWeights = (
    answer: (request: HubRequest, response: Parameters<NonNullable<Hub["fault"]>>[1], bytes: Uint8Array) => boolean | undefined,
  ) => {
    hub.fault = (request, response, file) => (request.server === "cdn" ? answer(request, response, file!.bytes) : undefined);
  };
  const wrong = (bytes: Uint8Array) => bytes.map((byte, i) => (i === 500 ? byte ^ 1 : byte));

  it("about one bit is asked once more, from zero", async () => {
    onWeights(({ count }, response, bytes) => {
      if (count > 0) return false;
      response.writeHead(200).end(wrong(bytes));
      return true;
    });
    const { folder, fetchedBytes } = await get();
    expect(await bytesAt(folder, "model.safetensors")).toEqual(weights.bytes);
    expect(fetchedBytes).toBe(2000 + config.length);
  });

  it.each([
    ["model.safetensors", "SHA-256"],
    ["config.json", "git hash"],
  ])("about %s twice is refused, and nothing is kept of it", async (name, hash) => {
    hub.fault = (_, response, file) => {
      if (file !== hub.repos.get(id)!.files[name] || (name !== "config.json" && response.req.url?.includes("resolve"))) return false;
      response.writeHead(200).end(file.bytes.map((byte) => byte ^ 1));
      return true;
    };
    const error = await refused(get());
    expect([error.code, error.message]).toEqual([
      "LOAD",
      expect.stringMatching(`${name === "config.json" ? name : "resolve"}.*expected ${hash} .* found .* twice`),
    ]);
    expect(await blobsOf()).not.toContain(etagOf(hub.repos.get(id)!.files[name]));
    hub.fault = undefined;
    expect((await get()).totalBytes).toBe(1000 + config.length);
  });

  it("takes the note of what was there with it, so that no later call trusts it", async () => {
    await writePartial(weights, [[0, 400]], weights.bytes);
    onWeights((_, response, bytes) => sent(response.writeHead(200).end(wrong(bytes))));
    await refused(get());
    expect((await leftovers()).filter((path) => path.endsWith(".json"))).toEqual([]);
  });

  it("about the resumed part is refused by the hash of the whole, and fetched again from zero", async () => {
    await writePartial(weights, [[0, 400]], wrong(weights.bytes).fill(9, 0, 300));
    const { folder, fetchedBytes } = await get();
    expect(fetchedBytes).toBe(600 + 1000 + config.length);
    expect(await bytesAt(folder, "model.safetensors")).toEqual(weights.bytes);
  });

  it.each<[string, Parameters<typeof onWeights>[0], RegExp]>([
    [
      "a length that is too short",
      (_, response) => sent(response.writeHead(200, { "content-length": "999" }).end(new Uint8Array(999))),
      /expected 1000 bytes, as the list of files says, found 999/,
    ],
    [
      "a body that is too long",
      (_, response, bytes) => sent([response.writeHead(200).write(bytes), response.end("x")]),
      /expected 1000 bytes at 0, found more/,
    ],
    [
      "416 with another length",
      (_, response) => sent(response.writeHead(416, { "content-range": "bytes */7" }).end()),
      /expected 1000 bytes, as the list of files says, found 7/,
    ],
    [
      "another range",
      (_, response) => sent(response.writeHead(206, { "content-range": "bytes 1-999/1000" }).end(new Uint8Array(999))),
      /expected Content-Range bytes 0-999\/1000, found bytes 1-999\/1000/,
    ],
    [
      "no range",
      (_, response) => sent(response.writeHead(206).end(new Uint8Array(999))),
      /expected Content-Range bytes 0-999\/1000, found none/,
    ],
    ["a status of its own", (_, response) => sent(response.writeHead(299).end()), /answers 299/],
  ])("by %s is refused", async (_, answer, message) => {
    onWeights(answer);
    const error = await refused(get());
    expect([error.code, error.message, waits]).toEqual(["LOAD", expect.stringMatching(message), []]);
  });

  it.each<[string, Parameters<typeof onWeights>[0]]>([
    ["ignores ranges", (_, response, bytes) => sent(response.writeHead(200, { "content-length": "1000" }).end(bytes))],
    [
      "refuses ranges with 416",
      ({ range }, response, bytes) => sent(range ? response.writeHead(416).end() : response.writeHead(200).end(bytes)),
    ],
    [
      "packs ranges",
      ({ range }, response, bytes) => sent(response.writeHead(range ? 206 : 200, range ? { "content-encoding": "gzip" } : {}).end(bytes)),
    ],
    [
      "answers less than it was asked for",
      ({ range }, response, bytes) => {
        const { first, last } = rangeOf(range, 1000);
        const end = Math.min(last, first + 70);
        return sent(response.writeHead(206, { "content-range": `bytes ${first}-${end}/*` }).end(bytes.subarray(first, end + 1)));
      },
    ],
  ])("but %s is put up with", async (_, answer) => {
    onWeights(answer);
    const { folder } = await get(id, {}, { partBytes: 300 });
    expect(await bytesAt(folder, "model.safetensors")).toEqual(weights.bytes);
  });

  it("that sends whole files only, cut again and again, still gets there", async () => {
    onWeights(({ count, range }, response, bytes) => {
      const end = 100 + 200 * count;
      if (range) return sent(response.writeHead(200, { "content-length": "1000" }).end(bytes));
      response.writeHead(200, { "content-length": "1000" });
      return sent(end >= 1000 ? response.end(bytes) : response.write(bytes.subarray(0, end), () => response.destroy()));
    });
    const { folder } = await get();
    expect(await bytesAt(folder, "model.safetensors")).toEqual(weights.bytes);
  });
});

describe("too many requests", () => {
  const once = (status: number, headers: Record<string, string>) => {
    hub.fault = ({ server, count }, response) => server === "hub" && count === 0 && sent(response.writeHead(status, headers).end());
    // Counts are by path, so each case has a repository of its own.
    const name = `owner/busy-${hub.repos.size}`;
    hub.add(name, { "config.json": config, "model.safetensors": weights });
    return get(name);
  };

  it("wait as many seconds as Retry-After says, or until its date", async () => {
    await once(429, { "retry-after": "17" });
    expect(new Set(waits)).toEqual(new Set([17_000]));
    waits = [];
    await once(503, { "retry-after": new Date(Date.now() + 60_000).toUTCString() });
    expect(waits.length).toBeGreaterThan(1);
    for (const ms of waits) expect(ms > 30_000 && ms <= 60_000).toBe(true);
    waits = [];
    // What the hub itself sends.
    await once(429, { ratelimit: '"resolvers";r=0;t=21', "ratelimit-policy": '"fixed window";"resolvers";q=5000;w=300' });
    expect(new Set(waits)).toEqual(new Set([21_000]));
    waits = [];
    await once(429, { "retry-after": "0", ratelimit: '"resolvers";r=9;t=21' });
    for (const ms of waits) expect(ms >= 250 && ms <= 500).toBe(true);
    waits = [];
    await once(429, { "retry-after": "soon" });
    for (const ms of waits) expect(ms >= 250 && ms <= 500).toBe(true);
  });

  it("are not waited for when that takes too long", async () => {
    const error = await refused(once(429, { "retry-after": "3600", "x-error-message": "slow down" }));
    expect(error.message).toMatch(/429 \(it says "slow down"\); it asks to come back in 3600 s/);
    expect(waits).toEqual([]);
  });

  it.each([[500], [502], [503], [504], [408], [429]])("and status %d are tried five times", async (status) => {
    hub.fault = (_, response) => Boolean(response.writeHead(status).end());
    expect((await refused(get())).message).toMatch(new RegExp(`answers ${status}; gave up after 5 attempts`));
    expect(hub.requests).toHaveLength(5);
  });
});

describe("redirects", () => {
  const redirect = (to: (request: HubRequest) => string | undefined) => {
    hub.fault = (request, response) => {
      const location = to(request);
      return location !== undefined && Boolean(response.writeHead(302, { location }).end());
    };
  };

  it("take the token to the hub only", async () => {
    await get(id, { token: "hf_secret" });
    const by = (server: string) =>
      new Set(hub.requests.filter((request) => request.server === server).map(({ authorization }) => authorization));
    expect([by("hub"), by("cdn")]).toEqual([new Set(["Bearer hf_secret"]), new Set([undefined])]);
  });

  it("that come back from elsewhere come without the token", async () => {
    redirect(({ server, path }) => {
      if (server === "cdn") return `${hub.endpoint}/elsewhere`;
      return path === "/elsewhere" ? undefined : `${hub.cdn}/x`;
    });
    await refused(get(id, { token: "hf_secret" }));
    const back = hub.requests.filter(({ path }) => path === "/elsewhere");
    expect(back.length).toBeGreaterThan(0);
    expect(back.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  it("within the hub are followed with it, as for a repository that was renamed", async () => {
    const commit = hub.repos.get(id)!.commit;
    redirect(({ path }) => (path.includes("owner/old") ? path.replace("owner/old", id) : undefined));
    expect(await get("owner/old", { token: "hf_secret" })).toMatchObject({ commit });
    expect(hub.requests.filter(({ server }) => server === "hub").every(({ authorization }) => authorization === "Bearer hf_secret")).toBe(
      true,
    );
  });

  it.each([
    ["without end", (path: string) => path, /at most 5 redirects/],
    ["to a file", () => "file:///etc/passwd", /http\(s\) URL, found file:/],
    ["to nowhere", () => "", /redirect to an http\(s\) URL, found ""/],
    ["with a login", () => "http://user:pass@127.0.0.1/", /redirect to an http\(s\) URL, found one with a login/],
    ["to data", () => "data:application/json,{}", /found data:/],
    ["to nonsense", () => "http://[", /found "http:\/\/\["/],
  ])("%s are refused", async (_, to, message) => {
    redirect(({ path }) => to(path));
    const error = await refused(get());
    expect([error.code, error.message]).toEqual(["LOAD", expect.stringMatching(message)]);
    expect(hub.requests.length).toBeLessThanOrEqual(6);
  });

  it("from https to http are refused", async () => {
    const fetch = async () => new Response(null, { status: 302, headers: { location: "http://elsewhere/" } });
    expect((await refused(get(id, { endpoint: "https://hub.test" }, { fetch }))).message).toMatch(
      /expected a redirect to an https URL, found http:/,
    );
  });
});

describe("access", () => {
  const deny = (status: number, headers: Record<string, string> = {}) => {
    hub.fault = (_, response) => Boolean(response.writeHead(status, headers).end());
  };
  const page = () => `${hub.endpoint}/${id}`;

  it.each([
    [
      "401 of a gated model",
      401,
      "GatedRepo",
      undefined,
      /the model is gated: accept its licence on PAGE while logged in, then: set HF_TOKEN/,
    ],
    ["403 of a gated model", 403, "GatedRepo", "hf_x", /accept its licence on PAGE .* the token that was sent has no access to it \(yet\)/],
    ["401", 401, "RepoNotFound", undefined, /no such repository, or a private or gated one; .* set HF_TOKEN to a token that may read PAGE/],
    ["401 with a token", 401, "", "hf_x", /the token that was sent may not read it/],
    ["403", 403, "", "hf_x", /access is refused; if the model is gated: accept its licence on PAGE/],
    ["404 of a revision", 404, "RevisionNotFound", undefined, /no such revision; see the branches and tags on PAGE/],
    ["404", 404, "RepoNotFound", undefined, /no such repository or revision; check the name on PAGE, and HF_TOKEN if it is private/],
    ["418", 418, "", undefined, /expected 200 or 206/],
  ])("refused by %s is explained", async (_, status, code, token, message) => {
    deny(status, code === "" ? {} : { "x-error-code": code });
    const error = await refused(get(id, { token }));
    expect([error.code, error.message.replace(page(), "PAGE")]).toEqual(["LOAD", expect.stringMatching(message)]);
    expect(error.message).not.toContain("hf_x");
    expect([hub.requests.length, existsSync(join(cacheDir, "models--owner--model"))]).toEqual([1, false]);
  });

  it("refused by the store, as for a signature that ran out, is asked for again, and explained without the signature", async () => {
    hub.fault = ({ server, count }, response) => (server === "cdn" && count < 3 ? sent(response.writeHead(403).end()) : undefined);
    expect(await get(id, {}, {})).toMatchObject({ totalBytes: 1000 + config.length });
    hub.fault = ({ server }, response) => (server === "cdn" ? sent(response.writeHead(403).end()) : undefined);
    const { message } = await refused(get(id, { cacheDir: join(cacheDir, "other") }));
    expect(message).toMatch(/resolve.*the store that the hub leads to answers 403; gave up after 5 attempts/);
    expect(message).not.toContain("secret");
  });
});

describe("offline", () => {
  const never = () => Promise.reject(new Error("a connection was opened"));

  it("opens no connection and finds what was downloaded", async () => {
    const { folder, files, commit, totalBytes } = await get();
    for (const around of [{ env: { HF_HUB_OFFLINE: "1" } }, { env: { TRANSFORMERS_OFFLINE: "yes" } }])
      expect(await get(id, {}, { fetch: never, ...around })).toEqual({ folder, files, commit, totalBytes, fetchedBytes: 0 });
    expect((await get(id, { offline: true }, { fetch: never })).folder).toBe(folder);
    expect((await refused(get(id, { offline: false }, { fetch: never, env: { HF_HUB_OFFLINE: "1" } }))).message).toMatch(
      /a connection was opened/,
    );
  });

  it("says what the cache lacks", async () => {
    const offline = (name = id, revision?: string) => refused(get(name, { offline: true, revision }, { fetch: never }));
    expect((await offline()).message).toMatch(/expected main in the cache, found none, and offline nothing is fetched/);
    const { folder } = await get();
    expect((await offline(id, "v2")).message).toMatch(/expected v2 in the cache/);
    await rm(join(folder, "config.json"));
    expect((await offline()).message).toMatch(/expected config\.json in the cache/);
    await get();
    await rm(join(cacheDir, "models--owner--model/blobs", etagOf(weights)));
    expect((await offline()).message).toMatch(/expected model\.safetensors, .* found none of them/);
    await writeFile(join(cacheDir, "models--owner--model/refs/main"), "../../x");
    expect((await offline()).message).toMatch(/refs.main: expected a commit/);
  });

  it("knows a model in shards by its index", async () => {
    const shard = "model-00001-of-00002.safetensors";
    hub.add(id, {
      "config.json": config,
      "model.safetensors.index.json": text({ weight_map: { a: shard, b: "b.safetensors" } }),
      [shard]: weights,
      "b.safetensors": weights,
    });
    const { folder } = await get();
    expect(await get(id, { offline: true })).toMatchObject({ folder });
    await rm(join(folder, shard));
    expect((await refused(get(id, { offline: true }))).message).toMatch(
      /expected the file "model-00001-of-00002\.safetensors", found none; the model is incomplete/,
    );
  });
});

describe("cancelling", () => {
  it("before anything opens no connection", async () => {
    const reason = new Error("no");
    const fetch = () => Promise.reject(new Error("a connection was opened"));
    await expect(get(id, { signal: AbortSignal.abort(reason) }, { fetch })).rejects.toBe(reason);
  });

  it("in the middle throws the reason, and leaves what the next call goes on with", async () => {
    const stop = new AbortController();
    const reason = new Error("stopped");
    hub.fault = ({ server }, response) => {
      if (server !== "cdn") return false;
      response.writeHead(200, { "content-length": "1000" }).write(weights.bytes.subarray(0, 300));
      return true;
    };
    const onProgress = ({ phase, file, doneBytes }: DownloadProgress) => {
      if (phase === "download" && file === "model.safetensors" && doneBytes >= 300) setTimeout(() => stop.abort(reason), 20);
    };
    await expect(get(id, { signal: stop.signal, onProgress })).rejects.toBe(reason);
    expect(await leftovers()).toEqual(
      expect.arrayContaining([expect.stringMatching(/jamba-partial$/), expect.stringMatching(/partial\.json$/)]),
    );
    expect((await leftovers()).filter((path) => /lock/.test(path))).toEqual([]);
    hub.fault = undefined;
    expect(await get()).toMatchObject({ fetchedBytes: 700 });
  });

  it("while it waits to try again ends the wait", async () => {
    const stop = new AbortController();
    hub.fault = (_, response) => Boolean(response.writeHead(503, { "retry-after": "200" }).end());
    setTimeout(() => stop.abort(new Error("stopped")), 50);
    await expect(get(id, { signal: stop.signal }, { wait: undefined })).rejects.toThrow("stopped");
  });

  it("at every request ends with the reason", async () => {
    for (let n = 0; n < 6; n++) {
      const stop = new AbortController();
      const reason = new Error(`at ${n}`);
      let count = 0;
      hub.fault = () => {
        if (count++ === n) stop.abort(reason);
        return undefined;
      };
      await get(id, { signal: stop.signal, cacheDir: join(cacheDir, String(n)) }).then(
        () => expect(n).toBeGreaterThanOrEqual(5),
        (error) => expect(error).toBe(reason),
      );
    }
  });

  it("by an error of onProgress throws that error", async () => {
    const error = new Error("mine");
    const onProgress = () => {
      throw error;
    };
    await expect(get(id, { onProgress })).rejects.toBe(error);
    expect(waits).toEqual([]);
  });
});

describe("progress", () => {
  it("counts one total from the first report on, what was there included, and never falls", async () => {
    await writePartial(weights, [[100, 600]], weights.bytes);
    const reports: DownloadProgress[] = [];
    const { totalBytes, fetchedBytes } = await get(id, { onProgress: (report) => reports.push(report) }, { partBytes: 128 });
    expect(fetchedBytes).toBe(totalBytes - 500);
    for (const phase of ["download", "verify"] as const) {
      const some = reports.filter((report) => report.phase === phase);
      expect(some.at(-1)).toMatchObject({ doneBytes: totalBytes, totalBytes });
      expect(some.every((report, i) => i === 0 || report.doneBytes > some[i - 1].doneBytes)).toBe(true);
    }
    expect(reports.find(({ file }) => file === "model.safetensors")!.doneBytes).toBeGreaterThanOrEqual(500);
  });
});

it.each([
  [{ model_type: "llama" }, "LOAD", /model_type: .* found "llama"; not a Jamba/],
  [{ model_type: "jamba", quantization_config: { quant_method: "fp8" } }, "UNSUPPORTED", /quantization_config: .* found FP8 weights/],
])("what can't be run is refused before its weights are fetched: %j", async (json, code, message) => {
  hub.add(id, { "config.json": text(JSON.stringify(json)), "model.safetensors": weights });
  expect(await refused(get())).toMatchObject({ code, message: expect.stringMatching(message) });
  expect(hub.requests.filter(({ path }) => /safetensors/.test(path))).toEqual([]);
});

describe("the disk", () => {
  it("is asked for room before the first byte, for what is missing only", async () => {
    const freeBytes = async () => 900;
    const error = await refused(get(id, {}, { freeBytes }));
    expect([error.code, error.message]).toEqual([
      "LOAD",
      expect.stringMatching(/expected room for 0\.0 GB more, found 0\.0 GB; make room, or .*--cache-dir, HF_HUB_CACHE/),
    ]);
    expect(hub.requests.filter(isFile)).toEqual([]);
    await writePartial(weights, [[0, 500]], weights.bytes);
    expect(await get(id, {}, { freeBytes })).toMatchObject({ fetchedBytes: 500 + config.length });
  });

  it("that can't be written says so", async () => {
    await writeFile(join(cacheDir, "models--owner--model"), "a file");
    expect(await refused(get())).toMatchObject({ code: "LOAD" });
  });

  it.each<[string, string | undefined, number]>([
    ["no note", undefined, 1000],
    ["a cut note", '{"sizeBytes":1000,"done":[[0,', 1000],
    ["a note of another size", '{"sizeBytes":999,"done":[[0,400]]}', 1000],
    ["ranges out of order", '{"sizeBytes":1000,"done":[[400,500],[0,100]]}', 1000],
    ["ranges outside", '{"sizeBytes":1000,"done":[[0,1001]]}', 1000],
    ["ranges that are none", '{"sizeBytes":1000,"done":[null,1,[5,5]]}', 1000],
    ["a file shorter than its note", '{"sizeBytes":1000,"done":[[0,900]]}', 300],
  ])("with a partial file and %s starts from zero", async (_, note, size) => {
    await writePartial(weights, [], weights.bytes.subarray(0, size));
    const path = join(cacheDir, "models--owner--model/blobs", `${etagOf(weights)}.jamba-partial.json`);
    if (note === undefined) await rm(path);
    else await writeFile(path, note);
    const { folder, fetchedBytes } = await get();
    expect(fetchedBytes).toBe(1000 + config.length);
    expect(await bytesAt(folder, "model.safetensors")).toEqual(weights.bytes);
  });

  it("that another process finished meanwhile is found finished", async () => {
    const blob = join(cacheDir, "models--owner--model/blobs", etagOf(weights));
    hub.fault = ({ server }) => {
      // As if the lock had been taken for left behind.
      if (server === "cdn") void rm(`${blob}.jamba-partial`).then(() => writeFile(blob, weights.bytes));
      return undefined;
    };
    const { folder } = await get(id, { onProgress: () => undefined }, { noteEveryBytes: 1 });
    expect(await bytesAt(folder, "model.safetensors")).toEqual(weights.bytes);
  });

  it("keeps Python's partial files as they are, and replaces a blob of the wrong size", async () => {
    const blobs = join(cacheDir, "models--owner--model/blobs");
    await mkdir(blobs, { recursive: true });
    await writeFile(join(blobs, `${etagOf(weights)}.incomplete`), "python's");
    await writeFile(join(blobs, etagOf(weights)), "short");
    const { folder } = await get();
    expect(await bytesAt(folder, "model.safetensors")).toEqual(weights.bytes);
    expect(await readFile(join(blobs, `${etagOf(weights)}.incomplete`), "utf8")).toBe("python's");
  });

  it("moved elsewhere with its cache is found there", async () => {
    await get();
    const moved = `${cacheDir}-moved`;
    await cp(cacheDir, moved, { recursive: true, verbatimSymlinks: true });
    try {
      expect((await get(id, { offline: true, cacheDir: moved })).folder).toContain(moved);
    } finally {
      await rm(moved, { recursive: true });
    }
  });
});

async function writePartial({ bytes, lfs }: StoredFile, done: number[][], content: Uint8Array): Promise<void> {
  const blobs = join(cacheDir, "models--owner--model/blobs");
  await mkdir(blobs, { recursive: true });
  const path = join(blobs, `${etagOf({ bytes, lfs })}.jamba-partial`);
  await writeFile(path, content);
  await writeFile(`${path}.json`, JSON.stringify({ sizeBytes: bytes.length, done }));
}
