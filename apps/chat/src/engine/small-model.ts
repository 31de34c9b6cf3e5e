// The small model's files, served beside the page: whole, so that they are kept for the next visit, which then needs no network.

const names = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

const cachePrefix = "jamba-small-model-";
const cacheName = cachePrefix + import.meta.env.MODEL_VERSION;

export interface FetchedFile {
  readonly name: string;
  readonly blob: Blob;
}

/** @throws Error naming the file that did not come */
export async function fetchSmallModel(base: string, onProgress: (doneBytes: number, totalBytes: number) => void): Promise<FetchedFile[]> {
  const cache = await openCache();
  const done = new Map<string, [doneBytes: number, totalBytes: number]>();
  return Promise.all(
    names.map(async (name) => {
      const url = new URL(name, base).href;
      const kept = await cache?.match(url);
      if (kept) return { name, blob: await kept.blob() };
      const response = await fetch(url).catch((cause) => {
        throw new Error(`${name} could not be fetched: this device is offline, and an earlier visit did not keep it.`, { cause });
      });
      if (!response.ok || !response.body) throw new Error(`${name} could not be fetched: the server answered ${response.status}.`);
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
      // Where there is no room the next visit fetches it again.
      cache?.put(url, new Response(blob)).catch(() => undefined);
      return { name, blob };
    }),
  );
}

/** Without those of other builds. None where the browser keeps nothing for this page. */
async function openCache(): Promise<Cache | undefined> {
  try {
    for (const name of await caches.keys()) if (name.startsWith(cachePrefix) && name !== cacheName) await caches.delete(name);
    return await caches.open(cacheName);
  } catch {
    return undefined;
  }
}
