export { decodeFloats, type FloatDtype, floatBytes, fromBf16, fromF16, roundFloats, toBf16, toF16, type WeightDtype } from "./dtype.ts";
export { BackendError, DtypeError, JambaError, type JambaErrorCode, LoadError, ShapeError, TokenizerError } from "./errors.ts";
export { matrixOf, type Weight, type WeightSource } from "./weight.ts";
