export { Tensor as HostTensor } from "onnxruntime-common";
export {
  type Backend,
  checkAddress,
  checkInputs,
  checkState,
  type DeviceInfo,
  type MemoryUse,
  type PackedSource,
  type PackedWeights,
  type PlannedStep,
  type RunOptions,
  type StateCopies,
  type StepInputs,
} from "./backend.ts";
export {
  type BlockDtype,
  blockFormats,
  decodeStored,
  isBlockDtype,
  packedDtypeOf,
  type StoredDtype,
  storedBytes,
} from "./blocks.ts";
export {
  type Command,
  type CommandList,
  type CommandOf,
  type Op,
  printList,
  type Routes,
  type StepShape,
  type Tensor,
  tensorsOf,
} from "./command.ts";
export { decodeFloats, type FloatDtype, floatBytes, fromBf16, fromF16, roundFloats, toBf16, toF16, type WeightDtype } from "./dtype.ts";
export { BackendError, DtypeError, JambaError, type JambaErrorCode, LoadError, ShapeError, TokenizerError } from "./errors.ts";
export type { AttentionState, ExpertArgs, LayerState, MambaState, MatmulOptions, Ops } from "./ops.ts";
export { record } from "./recorder.ts";
export { openReference, type ReferenceKernels, referenceKernels } from "./reference/backend.ts";
export {
  type AttentionStateSpec,
  type HostLayerState,
  type HostState,
  type MambaStateSpec,
  type StateAddress,
  type StateSpec,
  type StateStore,
  stateBytes,
} from "./state.ts";
export { type LocalBytes, matrixOf, sourceOf, type Weight, type WeightSource } from "./weight.ts";
