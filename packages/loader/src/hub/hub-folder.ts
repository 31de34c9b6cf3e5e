// A repository on the hub as a folder that is read by ranges: headers and small files, without a download.

import { type Folder, namesWithin } from "../source/folder.ts";
import { openUrl } from "../source/http-source.ts";
import { defaultIdleMs, defaultLeastBytesPerSecond } from "../source/rate.ts";
import { chooseFiles } from "./choose-files.ts";
import { hubClient } from "./client.ts";
import { expectReachable } from "./connect.ts";
import { type DownloadOptions, download, wait } from "./download.ts";
import { hubSettings } from "./environment.ts";
import { checkRevision, parseHubId } from "./hub-id.ts";
import { node } from "./node.ts";
import { listRepository } from "./repository.ts";

export type HubFolderOptions = Pick<DownloadOptions, "revision" | "cacheDir" | "token" | "offline" | "endpoint" | "signal">;

/**
 * @param local opens what lies in the cache, which is where offline everything comes from
 * @throws what `download` throws
 */
export async function hubFolder(id: string, options: HubFolderOptions, local: (path: string) => Promise<Folder>): Promise<Folder> {
  const { revision = "main", signal } = options;
  const { repo, wanted } = parseHubId(id);
  checkRevision(revision);
  const tools = await node();
  const { endpoint, token, offline } = await hubSettings(options, process.env, tools);
  if (offline) {
    const { folder, file } = await download(id, { ...options, offline });
    return local(file === undefined ? folder : tools.paths.join(folder, file));
  }
  const connect = (signal?: AbortSignal) => expectReachable(tools, endpoint, repo, process.env, signal);
  const client = hubClient({
    endpoint,
    token,
    repo,
    fetch,
    wait,
    idleMs: defaultIdleMs,
    leastBytesPerSecond: defaultLeastBytesPerSecond,
    connect,
  });
  const { commit, files } = await listRepository(client, revision, signal);
  const headers = token === undefined ? undefined : { authorization: `Bearer ${token}` };
  const open: Folder["open"] = (file, options) =>
    openUrl(`${endpoint}/${repo}/resolve/${commit}/${file.split("/").map(encodeURIComponent).join("/")}`, { ...options, headers });
  const readText = async (file: string) => {
    const source = await open(file, { signal });
    return new TextDecoder().decode(await source.read(0, source.size, signal));
  };
  const sizes = new Map([...files.values()].map(({ path, sizeBytes }) => [path, sizeBytes]));
  const { file } = await chooseFiles({ name: `${repo} at ${endpoint}`, sizes, readText }, wanted);
  return { name: id, weightsFile: file, open, list: async (within) => namesWithin([...files.keys()], within) };
}
