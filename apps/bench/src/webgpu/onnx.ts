// Models for onnxruntime: one MatMulNBits after another, of q4 weights in blocks of 32. As much of ONNX's protobuf as that takes.

type Bytes = Uint8Array<ArrayBuffer>;

export interface ChainOptions {
  /** Rows and columns of each weight. */
  readonly side: number;
  readonly products: number;
  readonly tokens: number;
  /** 4: activations may be rounded to 8 bits; 0: they may not. */
  readonly accuracyLevel: 0 | 4;
}

const [float, uint8, integer] = [1, 2, 2];

/** x [tokens, side] to y [tokens, side]; each weight is another one. */
export function matmulChain({ side, products, tokens, accuracyLevel }: ChainOptions): Bytes {
  const attributes = { K: side, N: side, bits: 4, block_size: 32, accuracy_level: accuracyLevel };
  const indices = Array.from({ length: products }, (_, i) => i);
  const nameOf = (i: number) => (i === 0 ? "x" : i === products ? "y" : `x${i}`);
  const nodes = indices.map((i) =>
    message(
      ...[nameOf(i), `w${i}`, `s${i}`].map((name) => text(1, name)),
      text(2, nameOf(i + 1)),
      text(3, `product ${i}`),
      text(4, "MatMulNBits"),
      ...Object.entries(attributes).map(([name, value]) => bytes(5, message(text(1, name), number(3, value), number(20, integer)))),
      text(7, "com.microsoft"),
    ),
  );
  const initializers = indices.flatMap((i) => [
    tensor(`w${i}`, uint8, [side, side / 32, 16], randomBytes((side * side) / 2, i)),
    tensor(`s${i}`, float, [(side * side) / 32], new Uint8Array(new Float32Array((side * side) / 32).fill(side ** -0.5 / 4.6).buffer)),
  ]);
  const graph = message(
    ...nodes.map((node) => bytes(1, node)),
    text(2, "chain"),
    ...initializers.map((one) => bytes(5, one)),
    bytes(11, valueInfo("x", [tokens, side])),
    bytes(12, valueInfo("y", [tokens, side])),
  );
  const opset = (domain: string, version: number) => bytes(8, message(text(1, domain), number(2, version)));
  return message(number(1, 10), bytes(7, graph), opset("", 21), opset("com.microsoft", 1));
}

function randomBytes(count: number, seed: number): Bytes {
  const found = new Uint32Array(count / 4);
  for (let i = 0, state = seed + 1; i < found.length; i++) {
    state = Math.imul(state, 1664525) + 1013904223; // Numerical Recipes' generator
    found[i] = state;
  }
  return new Uint8Array(found.buffer);
}

const tensor = (name: string, type: number, dims: readonly number[], raw: Bytes) =>
  message(...dims.map((n) => number(1, n)), number(2, type), text(8, name), bytes(9, raw));

const valueInfo = (name: string, dims: readonly number[]) => {
  const shape = message(...dims.map((n) => bytes(1, message(number(1, n)))));
  return message(text(1, name), bytes(2, message(bytes(1, message(number(1, float), bytes(2, shape))))));
};

const number = (field: number, value: number) => Uint8Array.from([...varint(field << 3), ...varint(value)]);
const bytes = (field: number, value: Bytes) => message(Uint8Array.from([...varint((field << 3) | 2), ...varint(value.length)]), value);
const text = (field: number, value: string) => bytes(field, new TextEncoder().encode(value));

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(Math.floor(value / 128))];
}

function message(...parts: readonly Bytes[]): Bytes {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
