// What a user may name as a checkpoint, as the folder it means.

import { type HubFolderOptions, hubFolder } from "./hub/hub-folder.ts";
import { isHubId } from "./hub/hub-id.ts";
import { lookAt } from "./source/file-source.ts";
import { blobFolder, type Folder, type NamedBlob, pathFolder, urlFolder } from "./source/folder.ts";

/**
 * A directory, the path of a `.safetensors` or `.gguf` file, the http(s) URL of either, a hub id ("owner/name", "owner/name:file.gguf",
 * "owner/name:Q4_K_M"), or a browser's files, whose own folders are ignored but for that of chat templates. A GGUF file may have any name.
 */
export type CheckpointSource = string | Iterable<File | NamedBlob>;

export async function openFolder(source: CheckpointSource, hub: HubFolderOptions): Promise<Folder> {
  if (typeof source !== "string") return blobFolder(source);
  if (/^https?:\/\//i.test(source)) return urlFolder(source, hub);
  return (await isOnHub(source)) ? hubFolder(source, hub, pathFolder) : pathFolder(source);
}

/** Whether `source` names a repository of the hub: it has that form, and no file or directory here has that name. */
export async function isOnHub(source: unknown): Promise<boolean> {
  return typeof source === "string" && isHubId(source) && (await lookAt(source)).kind === "absent";
}
