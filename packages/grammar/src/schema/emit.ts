// Shapes as a schema for the engine: no combination but `anyOf`, and every part that comes again, or holds itself, under `$defs`.

import { plainArrays } from "./emit-array.ts";
import type { PlainObject } from "./emit-object.ts";
import { plainObjects } from "./emit-object.ts";
import { type Emitted, emitNumber, emitString } from "./emit-scalar.ts";
import { type Expander, isClosedByDefault } from "./expand.ts";
import { keysOf, type RustKey, withoutListed } from "./key-patterns.ts";
import type { Node } from "./nodes.ts";
import { Orders } from "./orders.ts";
import { wholePattern } from "./rust-pattern.ts";
import { type ArrayShape, isFull, type ObjectShape, type Shape, TooComplex, Unenforceable } from "./shapes.ts";
import { fail, failFor } from "./words.ts";

type Written = Record<string, unknown>;

/** Parts of one schema; the engine takes 50,000 of its own, of which each untyped part is six. */
const maxParts = 20_000;
/** Characters of what is written, about. The engine compiles some 500 of them in a millisecond; the largest real schema of 1,551 has 130,000. */
const maxWritten = 200_000;
/** Levels that are written into each other; the engine goes down a level of its stack for each, and not for references. */
const maxInline = 12;
/** Characters that a string has at least, where more can't be asked for. */
const maxLeast = 1_000;
/** Properties of one object; the engine goes down a level of its stack for each. */
const maxProperties = 1_500;
/** Values of a part that `uniqueItems` may be spelled out with. */
const maxValues = 12;

interface Part {
  written: Emitted | undefined;
  uses: number;
}

export class Emitter {
  readonly #sets: Expander;
  readonly #parts = new Map<Node, Part>();
  readonly #orders = new Orders();
  #written = 0;

  constructor(sets: Expander) {
    this.#sets = sets;
  }

  /** @returns a schema and the parts that it refers to */
  emit(root: Node): Written {
    const written = this.#write(root);
    if (written === false) failFor(root.path, "a schema that something satisfies", "one that nothing does");
    const definitions: Written = Object.create(null);
    const top = this.#inlined(written, 0, definitions) as Written;
    return Object.keys(definitions).length > 0 ? { ...top, $defs: definitions } : top;
  }

  /** Parts that are used once go where they are used. */
  #inlined(value: unknown, depth: number, definitions: Written): unknown {
    this.#written += typeof value === "string" ? value.length + 3 : 4;
    if (this.#written > maxWritten) throw new TooComplex("a schema that is shorter, or has fewer alternatives when they are spelled out");
    if (value instanceof Reference) {
      const part = this.#parts.get(value.node)!;
      if (typeof part.written === "boolean") return part.written;
      if (part.uses === 1 && depth < maxInline) return this.#inlined(part.written, depth + 1, definitions);
      const name = value.node === this.#sets.nodes.any ? "any" : `n${value.node.id}`;
      if (!Object.hasOwn(definitions, name)) {
        definitions[name] = true; // while it is written, it may be met
        definitions[name] = this.#inlined(part.written, 0, definitions);
      }
      return { $ref: `#/$defs/${name}` };
    }
    if (Array.isArray(value)) return value.map((item) => this.#inlined(item, depth, definitions));
    if (typeof value !== "object" || value === null) return value;
    const copy: Written = Object.create(null);
    for (const [key, inner] of Object.entries(value)) {
      this.#written += key.length + 4;
      copy[key] = this.#inlined(inner, depth, definitions);
    }
    return copy;
  }

  #use(node: Node): Emitted | Reference {
    if (node === this.#sets.nodes.never) return false;
    const part = this.#parts.get(node);
    if (part) part.uses++;
    else this.#write(node, 1);
    const { written } = this.#parts.get(node)!;
    return typeof written === "boolean" ? written : (new Reference(node) as unknown as Emitted);
  }

  #write(node: Node, uses = 2): Emitted {
    if (this.#parts.size >= maxParts) throw new TooComplex(`a schema of at most ${maxParts} parts`);
    const part: Part = { written: undefined, uses };
    this.#parts.set(node, part);
    const { shapes } = this.#sets.expand(node);
    part.written = this.#union(shapes.flatMap((shape) => this.#shape(shape, node.path)));
    return part.written;
  }

  #union(written: readonly Emitted[]): Emitted {
    const kept = written.filter((one) => one !== false);
    if (kept.length === 0) return false;
    return kept.length === 1 ? kept[0] : { anyOf: kept };
  }

  #shape(shape: Shape, path: string): Emitted[] {
    switch (shape.type) {
      case "null":
        return [{ type: "null" }];
      case "boolean":
        return [shape.value === undefined ? { type: "boolean" } : { const: shape.value }];
      case "number":
        return [
          this.#orLess(
            () => emitNumber(shape, path),
            () => emitNumber({ ...shape, multiples: [] }, path),
          ),
        ];
      case "string":
        return [this.#string(shape, path)];
      case "array": {
        const plain = this.#orLess(
          () => plainArrays(shape, this.#sets, (node) => this.#valuesOf(node)),
          () => [{ ...shape, contains: [], unique: undefined }],
        );
        return plain.map((one) => this.#array(one));
      }
      case "object": {
        const closed = isClosedByDefault(shape, this.#sets.strict) ? this.#close(shape) : shape;
        const plain = this.#orLess<PlainObject[]>(
          () => plainObjects(closed, this.#sets),
          () => [{ shape: { ...closed, names: [], min: 0, max: Infinity }, keys: [] }],
        );
        return plain.flatMap((one) => this.#orders.of(one, this.#sets)).map((one) => this.#object(one));
      }
    }
  }

  /** Runs `less` where there is no form for all of a shape, and it may be left out. */
  #orLess<T>(run: () => T, less: () => T): T {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof Unenforceable)) throw error;
      this.#sets.leave(error.path, null, error.what);
      return less();
    }
  }

  #string(shape: Shape & { type: "string" }, path: string): Emitted {
    return this.#orLess(
      () => emitString(shape, path),
      () => {
        // One after the other, to keep those that have a form.
        const patterns = shape.patterns.filter((pattern) => {
          try {
            return emitString({ ...shape, formats: [], min: 0, max: Infinity, patterns: [pattern] }, path);
          } catch {
            return false;
          }
        });
        const isLong = shape.min > maxLeast;
        return emitString({ ...shape, patterns, min: isLong ? maxLeast : shape.min }, path);
      },
    );
  }

  #close(shape: ObjectShape): ObjectShape {
    const properties = new Map(shape.properties);
    for (const name of shape.required) if (!properties.has(name)) properties.set(name, this.#sets.nodes.any);
    return { ...shape, properties, additional: this.#sets.nodes.never };
  }

  #array({ prefix, rest, min, max }: ArrayShape): Emitted {
    return {
      type: "array",
      ...(prefix.length > 0 && { prefixItems: prefix.map((node) => this.#use(node)) }),
      items: this.#use(rest),
      ...(min > 0 && { minItems: min }),
      ...(max < Infinity && { maxItems: max }),
    };
  }

  #object({ shape: written, keys }: PlainObject): Emitted {
    const shape = this.#orLess(
      () => withoutListed(written, this.#sets),
      () => written,
    );
    if (shape.properties.size + shape.required.size > 2 * maxProperties || shape.properties.size > maxProperties)
      fail(shape.path, `an object of at most ${maxProperties} properties`, shape.properties.size);
    const properties: Written = Object.create(null);
    for (const [name, node] of shape.properties) properties[name] = this.#use(node);
    const patterns: Written = Object.create(null);
    for (const { regex, node } of keys) patterns[regex] = this.#use(node);
    const told = this.#orLess<readonly RustKey[]>(
      () => keysOf(shape.patterns, this.#sets),
      () => this.#anyOfKeys(shape),
    );
    for (const { regex, node } of told) patterns[regex] = this.#use(node);
    return {
      type: "object",
      ...(shape.properties.size > 0 && { properties }),
      ...(Object.keys(patterns).length > 0 && { patternProperties: patterns }),
      additionalProperties: this.#use(shape.additional ?? this.#sets.nodes.any),
      ...(shape.required.size > 0 && { required: [...shape.required] }),
      ...(shape.min > 0 && { minProperties: shape.min }),
      ...(shape.max < Infinity && { maxProperties: shape.max }),
    };
  }

  /** Where patterns can't be kept apart, keys that match any may have a value that any allows. */
  #anyOfKeys({ patterns, path }: ObjectShape): RustKey[] {
    const known = patterns.filter((pattern) => {
      try {
        return wholePattern(pattern.source, pattern.path) !== "";
      } catch {
        return false;
      }
    });
    const { nodes } = this.#sets;
    if (known.length < patterns.length) return [{ regex: "^(?s:.*)$", node: nodes.any }];
    const source = known.map((pattern) => `(?:${pattern.source})`).join("|");
    const node = nodes.some(
      known.map((pattern) => pattern.node),
      path,
    );
    return [{ regex: wholePattern(source, path), node }];
  }

  /** All values of a part, if they are few. */
  #valuesOf(node: Node): readonly Node[] | undefined {
    const { nodes } = this.#sets;
    const found: Node[] = [];
    for (const shape of this.#sets.expand(node).shapes) {
      if (isFull(shape, nodes) && shape.type === "null") found.push(nodes.constant(null, node.path));
      else if (shape.type === "boolean")
        for (const value of shape.value === undefined ? [true, false] : [shape.value]) found.push(nodes.constant(value, node.path));
      else if ((shape.type === "number" || (shape.type === "string" && shape.patterns.length + shape.formats.length === 0)) && shape.values)
        for (const value of shape.values) found.push(nodes.constant(value, node.path));
      else return undefined;
      if (found.length > maxValues) return undefined;
    }
    return found;
  }
}

/** Stands for a part until it is known how often it is used. */
class Reference {
  constructor(readonly node: Node) {}
}
