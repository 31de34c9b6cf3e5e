// The small model's files, served beside the page: whole, so that they are kept for the next visit, which then needs no network.

const names = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

const cachePrefix = "jamba-small-model-";
const cacheName = cachePrefix + import.meta.env.MODEL_VERSION;

export interface SmallModel {
  /** On their way. Each that does not come rejects with why. */
  readonly files: readonly { readonly name: string; readonly blob: Promise<Blob> }[];
  /** For the next visit, where there is room: a copy of all of it, which nothing should wait for. */
  keep(): Promise<void>;
}

export function fetchSmallModel(base: string, onProgress: (doneBytes: number, totalBytes: number) => void): SmallModel {
  const done = new Map<string, [doneBytes: number, totalBytes: number]>();
  const fetched: { readonly url: string; readonly blob: Blob }[] = [];
  const one = async (name: string): Promise<Blob> => {
    const url = new URL(name, base).href;
    // None where the browser keeps nothing for this page.
    const kept = await globalThis.caches?.match(url, { cacheName }).catch(() => undefined);
    if (kept) return kept.blob();
    const response = await fetch(url).catch((cause) => {
      throw new Error("it could not be fetched: this device is offline, and an earlier visit did not keep it", { cause });
    });
    if (!response.ok || !response.body) throw new Error(`it could not be fetched: the server answered ${response.status}`);
    const totalBytes = Number(response.headers.get("content-length")) || 0;
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    const reader = response.body.getReader();
    for (let doneBytes = 0; ; ) {
      const { value, done: isWhole } = await reader.read();
      if (isWhole) break;
      pieces.push(value);
      doneBytes += value.length;
      done.set(name, [doneBytes, Math.max(totalBytes, doneBytes)]);
      const sums = [...done.values()];
      onProgress(
        sums.reduce((sum, [bytes]) => sum + bytes, 0),
        sums.reduce((sum, [, bytes]) => sum + bytes, 0),
      );
    }
    const blob = new Blob(pieces);
    fetched.push({ url, blob });
    return blob;
  };
  const files = names.map((name) => ({ name, blob: one(name) }));
  for (const { blob } of files) blob.catch(() => undefined); // the first that is wanted says it
  return {
    files,
    async keep() {
      try {
        for (const name of await caches.keys()) if (name.startsWith(cachePrefix) && name !== cacheName) await caches.delete(name);
        const cache = await caches.open(cacheName);
        for (const { url, blob } of fetched) await cache.put(url, new Response(blob));
      } catch {} // no room, or nothing is kept here: the next visit fetches it again
    },
  };
}
