// States of sequences, part by part, with as much under way at a time as a little memory allows.

import { ShapeError } from "../errors.ts";
import type { DriverStates } from "./driver.ts";
import type { Guard } from "./held.ts";
import { steady } from "./read-weight.ts";
import { convertPart, partBytes, type StateAddress, type StatePart, type StateSpec, statePartsOf } from "./state.ts";

/** Of parts under way at the same time. */
const aheadBytes = 32 * 2 ** 20;

/** Parts are asked for ahead: each waits behind whatever step is under way when it is asked for. */
export async function* readParts(
  held: DriverStates,
  spec: StateSpec,
  address: StateAddress,
  { expectAlive, wait }: Guard,
): AsyncGenerator<StatePart> {
  const parts = statePartsOf(spec, address.seen);
  const asked: Promise<Uint8Array>[] = [];
  let [next, bytesAsked] = [0, 0];
  for (const part of parts) {
    expectAlive();
    for (; next < parts.length && (asked.length === 0 || bytesAsked + partBytes(parts[next]) <= aheadBytes); next++) {
      bytesAsked += partBytes(parts[next]);
      // What a slot holds means nothing before the first token.
      const reading = address.seen === 0 ? new Uint8Array(partBytes(parts[next])) : wait(held.readPart(address, parts[next]));
      asked.push(Promise.resolve(reading));
      asked.at(-1)!.catch(() => undefined); // thrown when its turn comes, if anybody still listens
    }
    bytesAsked -= partBytes(part);
    yield { ...part, bytes: await asked.shift()! };
  }
}

/** @throws ShapeError when `parts` are not those of `statePartsOf`, in that order; they may have another dtype */
export async function writeParts(
  held: DriverStates,
  spec: StateSpec,
  address: StateAddress,
  parts: AsyncIterable<StatePart> | Iterable<StatePart>,
  { expectAlive, wait }: Guard,
): Promise<void> {
  const expected = statePartsOf(spec, address.seen);
  const text = (part?: Omit<StatePart, "bytes">) =>
    part ? `layer ${part.layer} ${part.name} [${part.shape.join(", ")}]` : "no more parts";
  let count = 0;
  let [writing, bytesWriting]: [Promise<void>[], number] = [[], 0];
  for await (const part of parts) {
    const to = expected[count++];
    if (text(part) !== text(to) || part.bytes.byteLength !== partBytes(part))
      throw new ShapeError(`state: expected ${text(to)}, found ${text(part)} in ${part.bytes.byteLength} bytes; is it of another model?`);
    expectAlive();
    const { bytes, ...rest } = convertPart(part, to.dtype);
    const written = wait(held.writePart(address, { ...rest, bytes: steady(bytes) }));
    written.catch(() => undefined); // thrown where all are awaited
    writing.push(written);
    bytesWriting += bytes.byteLength;
    if (bytesWriting <= aheadBytes) continue;
    await Promise.all(writing);
    [writing, bytesWriting] = [[], 0];
  }
  await Promise.all(writing);
  if (count < expected.length)
    throw new ShapeError(`state: expected ${text(expected[count])}, found no more parts; is it of another model?`);
}
