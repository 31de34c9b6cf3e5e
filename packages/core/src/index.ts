export { Tensor as HostTensor } from "onnxruntime-common";
export {
  type BlockDtype,
  blockFormats,
  decodeStored,
  isBlockDtype,
  packedDtypeOf,
  type StoredDtype,
  storedBytes,
  storedDtypes,
} from "./blocks.ts";
export {
  type Command,
  type CommandList,
  type CommandOf,
  type FusedCommand,
  type FusedCommandOf,
  type FusedOp,
  type Norm,
  type Op,
  printList,
  type Routes,
  type StepShape,
  type Tensor,
  tensorsOf,
  weightsOf,
} from "./command.ts";
export type {
  AskedIds,
  Backend,
  DeviceInfo,
  MemoryUse,
  OpProfile,
  PackedSource,
  PackedWeights,
  PlannedStep,
  Program,
  Room,
  Step,
  StepInputs,
  SubmitOptions,
  TensorLocation,
} from "./device/backend.ts";
export { checkState } from "./device/checks.ts";
export { leastShare, longestOf, nSharesOf, topShape, topWords, wordsOf } from "./device/cuts.ts";
export type {
  Driver,
  DriverPacked,
  DriverProgram,
  DriverStates,
  DriverTensors,
  DriverWeight,
  PackedCopies,
  PackedInputs,
  TensorForm,
  Ticket,
} from "./device/driver.ts";
export { encodeQ4K } from "./device/encode-q4k.ts";
export { openDevice } from "./device/frame.ts";
export { hostRoom } from "./device/host-room.ts";
export {
  fromHostState,
  type HostLayerState,
  type HostState,
  readHostState,
  toHostState,
  writeHostState,
} from "./device/host-state.ts";
export {
  type LayerLayout,
  type PartLayout,
  partsOf,
  type RowLayout,
  roundUp,
  rowLayout,
  type StateLayout,
  stateLayout,
} from "./device/layout.ts";
export { packAddresses } from "./device/pack-inputs.ts";
export { runOnce } from "./device/run-once.ts";
export {
  type AttentionStateSpec,
  convertPart,
  type MambaStateSpec,
  partBytes,
  type StateAddress,
  type StateCopies,
  type StatePart,
  type StateSpec,
  type StateStore,
  stateBytes,
  statePartsOf,
} from "./device/state.ts";
export { noInputs, sequencesOf, stepParts, stepWords } from "./device/step-words.ts";
export { type BlobBytes, type LocalBytes, matrixOf, sourceOf, type Weight, type WeightSource } from "./device/weight.ts";
export {
  decodeFloats,
  encodeFloats,
  type FloatDtype,
  floatBytes,
  fromBf16,
  fromF16,
  roundFloats,
  toBf16,
  toF16,
  type WeightDtype,
} from "./dtype.ts";
export { BackendError, DtypeError, JambaError, type JambaErrorCode, LoadError, ShapeError, TokenizerError } from "./errors.ts";
export { fromNode, hasNode, packageFolders } from "./from-node.ts";
export { type Fusion, fusions, type Rewrite } from "./lower/fuse.ts";
export { type LoweringTarget, lower, type Output, type Plan, traced } from "./lower/lower.ts";
export type { AttentionState, ExpertArgs, LayerState, MambaState, MatmulOptions, Ops } from "./ops.ts";
export { record } from "./recorder.ts";
export { openReference, type ReferenceKernels, type ReferenceOptions, referenceKernels } from "./reference/driver.ts";
export { atOnce, inSlices, nextTurn } from "./slices.ts";
export { openThread, type ThreadPort } from "./thread.ts";
export { type TopRow, topOf } from "./top.ts";
export { unlessAborted } from "./unless-aborted.ts";
