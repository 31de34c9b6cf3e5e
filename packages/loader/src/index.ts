export { type Checkpoint, openCheckpoint, storedDtypeOf, type TensorInfo } from "./checkpoint.ts";
export { type JambaConfig, parseConfig, parseGenerationConfig } from "./config.ts";
export { fingerprint, hexOf, sha256, tokenizerFingerprint } from "./fingerprint.ts";
export { encodeBlocks } from "./gguf/encode-blocks.ts";
export { type GgufHeader, type GgufTensor, type GgufValue, parseGgufHeader } from "./gguf/header.ts";
export { type Importance, type QuantizeDtype, type Quantized, type QuantizeOptions, quantize, quantizeDtypes } from "./gguf/quantize.ts";
export { type PlacedGguf, placeGguf, type UnplacedGgufTensor } from "./gguf/write.ts";
export { type Download, type DownloadOptions, type DownloadProgress, download } from "./hub/download.ts";
export { isHubId } from "./hub/hub-id.ts";
export {
  type ModelTensor,
  modelSources,
  modelTensors,
  type TensorFile,
  type TensorPart,
  type TensorRole,
} from "./model-tensors.ts";
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
export type { ByteSource } from "./source/byte-source.ts";
export { openFile } from "./source/file-source.ts";
export { type CheckpointSource, isOnHub, type NamedBlob } from "./source/folder.ts";
export { openUrl } from "./source/http-source.ts";
export { makeFolder, removePartials, wholeFile } from "./source/whole-file.ts";
