export { openBlob } from "./blob-source.ts";
export type { ByteSource } from "./byte-source.ts";
export { type Checkpoint, openCheckpoint, storedDtypeOf, type TensorInfo } from "./checkpoint.ts";
export { type JambaConfig, parseConfig, parseGenerationConfig } from "./config.ts";
export { openFile } from "./file-source.ts";
export { fingerprint, hexOf, sha256, tokenizerFingerprint } from "./fingerprint.ts";
export { type CheckpointSource, isOnHub, type NamedBlob } from "./folder.ts";
export { type GgufHeader, type GgufTensor, type GgufValue, parseGgufHeader } from "./gguf.ts";
export { type PlacedGguf, placeGguf, type UnplacedGgufTensor } from "./gguf-write.ts";
export { openUrl } from "./http-source.ts";
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
export { type Importance, type QuantizeDtype, type Quantized, type QuantizeOptions, quantize, quantizeDtypes } from "./quantize.ts";
export {
  type NamedTensor,
  parseSafetensorsHeader,
  type SafetensorsDtype,
  type SafetensorsHeader,
  type SafetensorsTensor,
  safetensorsHeader,
  type UnplacedTensor,
  writeSafetensors,
} from "./safetensors.ts";
export { makeFolder, removePartials, wholeFile } from "./whole-file.ts";
