export { openBlob } from "./blob-source.ts";
export type { ByteSource } from "./byte-source.ts";
export { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
export { openFile } from "./file-source.ts";
export type { CheckpointSource, NamedBlob } from "./folder.ts";
export { openUrl } from "./http-source.ts";
export {
  type NamedTensor,
  parseSafetensorsHeader,
  type SafetensorsDtype,
  type SafetensorsHeader,
  safetensorsHeader,
  type TensorInfo,
  type UnplacedTensor,
  writeSafetensors,
} from "./safetensors.ts";
