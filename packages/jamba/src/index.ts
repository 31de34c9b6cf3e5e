export {
  type Backend,
  type BlockDtype,
  type DeviceInfo,
  type FloatDtype,
  type HostLayerState,
  type HostState,
  HostTensor,
  JambaError,
  type JambaErrorCode,
  type MemoryUse,
  type StoredDtype,
  type TensorLocation,
  type WeightDtype,
} from "@jamba/core";
export {
  type Checkpoint,
  type CheckpointSource,
  type Importance,
  type JambaConfig,
  type NamedBlob,
  parseConfig,
  type QuantizeDtype,
  type Quantized,
  type QuantizedTensor,
  type QuantizeOptions,
  type TensorPart,
  type Warn,
} from "@jamba/loader";
export type { Message, Tokenizer, ToolCall } from "@jamba/tokenizer";
export type { AnswerCall, AnswerPiece } from "./answer/answer-parts.ts";
export type { DrawnLogprob, Part, Result, Timings, Usage } from "./answer/generate.ts";
export { merged } from "./answer/merged.ts";
export type { GenerateOptions } from "./answer/options.ts";
export type { Prompt, PromptOptions, TextOrIds } from "./answer/prompt.ts";
export type { PromptLookup } from "./answer/prompt-lookup.ts";
export type { Round, ToolResult } from "./answer/run-tools.ts";
export type { TextStream } from "./answer/text-stream.ts";
export type { TokenLogprob, TokenText } from "./answer/token-text.ts";
export type { NamedTool, Tool, ToolContext, Tools, WrappedTool } from "./answer/tools.ts";
export type { WebResponseOptions, WebStreamOptions } from "./answer/web-stream.ts";
export type { CalibrateOptions } from "./convert/calibrate.ts";
export { type PreparedModel, type PrepareOptions, prepareModel } from "./convert/prepare.ts";
export { type QuantizeModelOptions, quantizeModel } from "./convert/quantize.ts";
export type { ModelState } from "./engine/model-state.ts";
export type { ReadTree } from "./engine/prefix-tree.ts";
export type { CompiledFormat } from "./format/compiled-format.ts";
export type { AnswerSpec, Form, Format, ToolChoice } from "./format/format.ts";
export type { SchemaIssue, SchemaOf, StandardSchema } from "./format/standard-schema.ts";
export type { ForwardOptions, ForwardResult, JambaModel, JambaModel as Model } from "./jamba-model.ts";
export type { LoadDtype } from "./load/device-dtypes.ts";
export { type Formats, loadFormats } from "./load/load-formats.ts";
export { loadModel } from "./load/load-model.ts";
export type { CacheOptions, LimitOptions, LoadOptions, LoadProgress } from "./load/load-options.ts";
export { type BackendName, type DeviceStatus, listDevices } from "./load/open-backend.ts";
export { type Prepared, type PreparedWeight, preparedOf } from "./load/prepared.ts";
export type { ModelSource } from "./load/source.ts";
export { type MemoryPlan, type PlanOptions, planMemory } from "./plan/plan-memory.ts";
export type { ReadingOptions, Score, ScoredToken, ScoreOptions } from "./readings.ts";
export type { Session, SessionOptions } from "./session.ts";
export type { Tenant } from "./state/tenant.ts";
