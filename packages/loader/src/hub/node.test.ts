import { afterEach, expect, it, vi } from "vitest";

afterEach(() => {
  vi.doUnmock("node:fs/promises");
  vi.resetModules();
});

it.each([
  ["is empty, as bundlers for browsers make it", () => ({ default: {} })],
  [
    "throws",
    () => {
      throw new Error("externalized for browser compatibility");
    },
  ],
])("where node:fs/promises %s, a download is refused with what works there", async (_, make) => {
  vi.resetModules();
  vi.doMock("node:fs/promises", make);
  const { download } = await import("./download.ts");
  await expect(download("owner/model")).rejects.toMatchObject({
    code: "UNSUPPORTED",
    message: expect.stringContaining("needs a file system, which this runtime lacks; pass the URL of the repository's files"),
  });
});
