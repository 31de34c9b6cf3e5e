export { type Checkpoint, openCheckpoint, storedDtypeOf } from "./checkpoint.ts";
export {
  type Fingerprint,
  type FingerprintOptions,
  fingerprint,
  fingerprintsOf,
  hashOf,
  keptFingerprint,
  tokenizerFingerprint,
} from "./fingerprint.ts";
export { encodeBlocks } from "./gguf/encode-blocks.ts";
export { type GgufHeader, type GgufTensor, type GgufValue, parseGgufHeader } from "./gguf/header.ts";
export { type PlacedGguf, placeGguf, type UnplacedGgufTensor } from "./gguf/write.ts";
export {
  type CachedRepository,
  type CachedRevision,
  type CacheOptions,
  listCached,
  type RemovedFiles,
  removeCached,
} from "./hub/cached.ts";
export { proxyOf } from "./hub/connect.ts";
export { type Download, type DownloadOptions, type DownloadProgress, download } from "./hub/download.ts";
export { isHubId } from "./hub/hub-id.ts";
export { keptFingerprintSuffix } from "./hub/node.ts";
export { type JambaConfig, parseConfig } from "./model/config.ts";
export { type GenerationConfig, type GenerationDefaults, parseGenerationConfig } from "./model/generation-config.ts";
export {
  type ModelTensor,
  modelSources,
  modelTensors,
  type TensorFile,
  type TensorPart,
  type TensorRole,
} from "./model/tensors.ts";
export { type CheckpointSource, isOnHub } from "./open-folder.ts";
export {
  type Importance,
  type QuantizeDtype,
  type Quantized,
  type QuantizedTensor,
  type QuantizeOptions,
  quantize,
  quantizeDtypes,
} from "./quantize.ts";
export {
  type NamedTensor,
  parseSafetensorsHeader,
  type SafetensorsDtype,
  type SafetensorsHeader,
  type SafetensorsTensor,
  safetensorsHeader,
  type UnplacedTensor,
  writeSafetensors,
} from "./safetensors/header.ts";
export { openBlob } from "./source/blob-source.ts";
export type { ByteSource, FileStamp } from "./source/byte-source.ts";
export { openFile } from "./source/file-source.ts";
export type { NamedBlob } from "./source/folder.ts";
export { openUrl } from "./source/http-source.ts";
export { machineOf } from "./source/lease.ts";
export type { TensorInfo } from "./source/tensor-info.ts";
export type { Warn } from "./source/untrusted.ts";
export { makeFolder, removePartials, wholeFile } from "./source/whole-file.ts";
export { hexOf, sha256 } from "./tensor-digests.ts";
