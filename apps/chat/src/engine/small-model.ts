// The small model's files, served beside the page: whole, so that a service worker can keep them and nothing is asked for twice.

const names = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

export interface FetchedFile {
  readonly name: string;
  readonly blob: Blob;
}

/** @throws Error naming the file that did not come */
export async function fetchSmallModel(base: string, onProgress: (doneBytes: number, totalBytes: number) => void): Promise<FetchedFile[]> {
  const done = new Map<string, [doneBytes: number, totalBytes: number]>();
  return Promise.all(
    names.map(async (name) => {
      const response = await fetch(new URL(name, base)).catch((cause) => {
        throw new Error(`${name} could not be fetched: this device is offline and the page was not kept for that.`, { cause });
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
      return { name, blob: new Blob(pieces) };
    }),
  );
}
