// Schemas as unions of shapes: keywords that combine schemas are worked out here, so that the engine meets none of them.

import type { SchemaDocument } from "./document.ts";
import type { Node, Nodes } from "./nodes.ts";
import { type Leave, OwnShapes, shapesOfValues } from "./own-shapes.ts";
import { Trials } from "./patterns.ts";
import {
  areApart,
  asChosen,
  fullObject,
  fullShapes,
  intersectAll,
  isFull,
  type ObjectShape,
  type Sets,
  type Shape,
  TooComplex,
  Unenforceable,
} from "./shapes.ts";
import { complement, type Rest, subtract, subtractAll } from "./subtract.ts";
import { unevaluated } from "./unevaluated.ts";
import {
  applicators,
  expectNames,
  expectObject,
  expectSome,
  fail,
  failFor,
  foreignAssertions,
  isList,
  type Json,
  type JsonObject,
} from "./words.ts";

export interface Expansion {
  readonly shapes: readonly Shape[];
  /** Whether something was left out, so that values are in the shapes that are not in the schema. */
  readonly isWider: boolean;
  readonly isNarrower: boolean;
}

/** What a schema is so far, while its keywords are read one by one. */
interface Progress {
  shapes: readonly Shape[];
  isWider: boolean;
  isNarrower: boolean;
  readonly own: readonly Shape[];
}

/** Alternatives of one place; a grammar of more is slow to build. */
const maxShapes = 600;
/** Pieces that alternatives may come apart into, beyond as many as there are. */
const maxPieces = 64;
/** Of work: pairs of alternatives, and properties of theirs. The most that a real schema of 1,551 takes is 31,000, in 150 ms. */
const maxSteps = 60_000;
const tooMuch = "a schema of fewer combinations";
/** How far it is looked for values that can't be; beyond, they are taken to be possible. */
const maxSearch = 60;
const extending = new Set(["$ref", "$dynamicRef", "$recursiveRef", "allOf"]);

export class Expander implements Sets {
  readonly #known = new Map<Node, Expansion>();
  readonly #texts = new Map<Node, ReadonlySet<string> | null>();
  readonly #trials = new Trials();
  readonly #own: OwnShapes;
  /** Those that are being read, with nothing between that values have inside: to meet one again is a ring. */
  #open = new Set<Node>();
  readonly #asked = new Set<Node>();
  #steps = 0;

  constructor(
    readonly nodes: Nodes,
    readonly document: SchemaDocument,
    readonly strict: boolean,
    readonly name: string,
    readonly leave: Leave,
    /** Leaves out what takes the most work: `not`, `if`, and that only one of `oneOf` may hold. */
    readonly isSimple = false,
  ) {
    this.#own = new OwnShapes(nodes, leave);
  }

  matches(pattern: string, text: string): boolean | undefined {
    return this.#trials.matches(pattern, text);
  }

  spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > maxSteps)
      throw new TooComplex("a schema whose combinations can be worked out in time (fewer of allOf, anyOf, oneOf, not)");
  }

  textsOf(node: Node): ReadonlySet<string> | undefined {
    if (node.expression.kind === "any" || this.isNever(node)) return undefined;
    const known = this.#texts.get(node);
    if (known !== undefined) return known ?? undefined;
    const shapes = this.#known.get(node)?.shapes;
    if (!shapes) return undefined; // it is being read
    const [first] = shapes;
    const isPlain = shapes.length === 1 && first.type === "string" && first.values !== undefined;
    const texts = isPlain ? new Set(first.values) : null;
    this.#texts.set(node, texts);
    return texts ?? undefined;
  }

  isNever(node: Node): boolean {
    if (node === this.nodes.never) return true;
    if (node === this.nodes.any || this.#asked.has(node) || this.#asked.size > maxSearch) return false;
    const known = this.#known.get(node);
    if (known) return known.shapes.length === 0;
    const open = this.#open;
    this.#open = new Set();
    this.#asked.add(node);
    try {
      return this.expand(node).shapes.length === 0;
    } finally {
      this.#open = open;
      this.#asked.delete(node);
    }
  }

  expand(node: Node): Expansion {
    const known = this.#known.get(node);
    if (known) return known;
    if (this.#open.has(node)) failFor(node.path, "a schema that is not made of itself alone", "one that is");
    this.#open.add(node);
    const expansion = this.#expression(node);
    this.#open.delete(node);
    this.#known.set(node, expansion);
    return expansion;
  }

  #expression({ expression, path }: Node): Expansion {
    switch (expression.kind) {
      case "any":
        return exact(fullShapes(this.nodes, path));
      case "never":
        return exact([]);
      case "all":
        return expression.nodes.map((node) => this.expand(node)).reduce((a, b) => this.#both(a, b, path));
      case "some":
        return this.#either(expression.nodes, path);
      case "not": {
        const taken = this.expand(expression.node);
        const rest = this.#orLeave(`${path}.not`, null, () => complement(this.#exactly(taken, path), this, path));
        return rest
          ? { shapes: rest.shapes, isWider: false, isNarrower: rest.isNarrower }
          : { ...exact(fullShapes(this.nodes, path)), isWider: true };
      }
      case "schema":
        return this.#schema(expression.schema, path);
    }
  }

  #schema(schema: JsonObject, path: string): Expansion {
    const own = this.#own.of(schema, path);
    const types = new Set(own.map(({ type }) => type));
    const shapes = fullShapes(this.nodes, path).filter(({ type }) => types.has(type));
    const progress: Progress = { shapes, isWider: false, isNarrower: false, own };
    // What is left unevaluated is known when all others are read, wherever it stands.
    const isLast = (word: string) => word.startsWith("unevaluated");
    const words = Object.keys(schema).sort((a, b) => Number(isLast(a)) - Number(isLast(b)));
    // What it extends comes before its own properties, if it stands there; what only chooses among them does not order them.
    const place = words.find((word) => word === "properties" || (applicators.has(word) && !extending.has(word)));
    for (const word of words) {
      if (word === place) progress.shapes = intersectAll(progress.shapes, own, this);
      if (foreignAssertions.has(word)) {
        this.leave(`${path}.${word}`, schema[word], "a keyword of draft 4 to 2020-12");
        progress.isWider = true;
      }
      if (!applicators.has(word)) continue;
      const before = progress.shapes;
      const isDone = this.#orLeave(`${path}.${word}`, schema[word], () => {
        this.#apply(word, schema, path, progress);
        if (progress.shapes.length > maxShapes) throw new Unenforceable(path, `at most ${maxShapes} alternatives in one place`);
        return true;
      });
      if (!isDone) Object.assign(progress, { shapes: before, isWider: true });
    }
    if (place === undefined) progress.shapes = intersectAll(progress.shapes, own, this);
    return { shapes: distinct(progress.shapes, this.nodes), isWider: progress.isWider, isNarrower: progress.isNarrower };
  }

  #apply(word: string, schema: JsonObject, path: string, progress: Progress): void {
    const value = schema[word];
    const at = `${path}.${word}`;
    const node = (inner: Json, place: string) => this.nodes.schema(inner, place) ?? fail(place, "a schema", inner);
    const list = () => expectSome(value, at).map((inner, i) => node(inner, `${at}[${i}]`));
    switch (word) {
      case "$ref":
      case "$dynamicRef":
      case "$recursiveRef":
        this.#narrow(progress, this.expand(this.#target(word, value, schema, at)));
        return;
      case "allOf":
        for (const part of list()) this.#narrow(progress, this.expand(part));
        return;
      case "anyOf":
        this.#narrow(progress, chosen(this.#either(list(), at)));
        return;
      case "oneOf":
        this.#oneOf(list(), at, progress);
        return;
      case "not":
        if (this.isSimple) throw new Unenforceable(at, tooMuch);
        this.#without(progress, this.expand(node(value, at)), at);
        return;
      case "if":
        if (this.isSimple) throw new Unenforceable(at, tooMuch);
        this.#if(schema, path, progress, node);
        return;
      case "enum":
        this.#narrow(progress, exact(shapesOfValues(expectSome(value, at), this.nodes, at)));
        return;
      case "const":
        this.#narrow(progress, exact(shapesOfValues([value], this.nodes, at)));
        return;
      case "dependencies":
      case "dependentRequired":
      case "dependentSchemas":
        for (const [name, inner] of Object.entries(expectObject(value, at))) this.#dependency(name, inner, `${at}.${name}`, progress, node);
        return;
      case "unevaluatedProperties":
      case "unevaluatedItems":
        progress.shapes = intersectAll(progress.shapes, progress.own, this);
        progress.shapes = unevaluated(word, schema, node(value, at), at, progress.shapes, this);
    }
  }

  #narrow(progress: Progress, by: Expansion): void {
    Object.assign(progress, this.#both({ ...progress }, by, ""), { own: progress.own });
  }

  #both(a: Expansion, b: Expansion, path: string): Expansion {
    const shapes = distinct(intersectAll(a.shapes, b.shapes, this), this.nodes);
    if (shapes.length > maxShapes) throw new Unenforceable(path, `at most ${maxShapes} alternatives in one place`);
    return { shapes, isWider: a.isWider || b.isWider, isNarrower: a.isNarrower || b.isNarrower };
  }

  #either(nodes: readonly Node[], path: string): Expansion {
    const parts = nodes.map((node) => this.expand(node));
    const shapes = distinct(
      parts.flatMap((part) => part.shapes),
      this.nodes,
    );
    if (shapes.length > maxShapes) throw new Unenforceable(path, `at most ${maxShapes} alternatives in one place`);
    return { shapes, isWider: parts.some((part) => part.isWider), isNarrower: parts.some((part) => part.isNarrower) };
  }

  /** Each branch without those of the others that it may meet. */
  #oneOf(nodes: readonly Node[], path: string, progress: Progress): void {
    const parts = nodes.map((node) => chosen(this.expand(node)));
    const branches = parts.map(({ shapes }) => intersectAll(intersectAll(progress.shapes, shapes, this), progress.own, this));
    progress.isWider ||= parts.some((part) => part.isWider);
    progress.isNarrower ||= parts.some((part) => part.isNarrower);
    const isClosed = (shape: ObjectShape) => isClosedByDefault(shape, this.strict);
    const disjoint = () => {
      if (this.isSimple) throw new Unenforceable(path, tooMuch);
      const rests = branches.map((branch, i) => {
        let shapes: readonly Shape[] = branch;
        branches.forEach((other, j) => {
          if (i === j) return;
          for (const taken of other)
            shapes = shapes.flatMap((shape) => {
              this.spend(0.05);
              if (areApart(shape, taken, this, isClosed)) return [shape];
              const rest = subtract(shape, this.#exactly({ ...parts[j], shapes: [taken] }, path)[0], this, path);
              progress.isNarrower ||= rest.isNarrower;
              return rest.shapes;
            });
          if (shapes.length > branch.length + maxPieces) throw new Unenforceable(path, "alternatives that come apart into fewer pieces");
        });
        return shapes;
      });
      return rests.flat();
    };
    const shapes = this.#orLeave(path, null, disjoint);
    if (!shapes) progress.isWider = true;
    progress.shapes = distinct(shapes ?? branches.flat(), this.nodes);
  }

  #without(progress: Progress, taken: Expansion, path: string): void {
    const from = intersectAll(progress.shapes, progress.own, this);
    const rest: Rest = subtractAll(from, this.#exactly(taken, path), this, path);
    progress.shapes = rest.shapes;
    progress.isNarrower ||= rest.isNarrower;
  }

  #if(schema: JsonObject, path: string, progress: Progress, node: (inner: Json, place: string) => Node): void {
    if (schema.then === undefined && schema.else === undefined) return;
    const part = (word: "if" | "then" | "else") =>
      this.expand(schema[word] === undefined ? this.nodes.any : node(schema[word], `${path}.${word}`));
    const [condition, yes, no] = [part("if"), part("then"), part("else")].map(chosen);
    const shapes = intersectAll(progress.shapes, progress.own, this);
    const taken = this.#exactly(condition, `${path}.if`);
    const rest = subtractAll(shapes, taken, this, `${path}.if`);
    const otherwise = intersectAll(rest.shapes, no.shapes, this);
    progress.shapes = distinct([...intersectAll(intersectAll(shapes, taken, this), yes.shapes, this), ...otherwise], this.nodes);
    progress.isWider ||= yes.isWider || no.isWider;
    progress.isNarrower ||= rest.isNarrower || yes.isNarrower || no.isNarrower;
  }

  #dependency(name: string, value: Json, path: string, progress: Progress, node: (inner: Json, place: string) => Node): void {
    const having = (names: readonly string[]): Shape => ({ ...fullObject(path), required: new Set(names) });
    const lacking: Shape = { ...fullObject(path), properties: new Map([[name, this.nodes.never]]) };
    const then = isList(value)
      ? exact([having(expectNames(value, path))])
      : typeof value === "string"
        ? exact([having([value])])
        : this.expand(node(value, path));
    const others = fullShapes(this.nodes, path).filter(({ type }) => type !== "object");
    const alternatives = { ...then, shapes: [...others, lacking, ...intersectAll([having([name])], then.shapes, this)] };
    this.#narrow(progress, chosen(alternatives));
  }

  #target(word: string, value: Json, schema: JsonObject, path: string): Node {
    if (typeof value !== "string") fail(path, "a reference", value);
    const name = value.replace(/^[^#]*#/, "");
    const isDynamic = word === "$dynamicRef" && this.document.isDynamic(name);
    const target = isDynamic ? this.document.resolveDynamic(name) : this.document.resolve(value, schema);
    if (!target)
      throw new Unenforceable(
        path,
        isDynamic ? "an anchor that is in one place" : "a reference into this schema (copy what it refers to under $defs)",
      );
    return this.nodes.schema(target.schema, target.path) ?? fail(target.path, "a schema", target.schema);
  }

  /** What can be taken away: neither more nor less than the schema says. */
  #exactly({ shapes, isWider, isNarrower }: Expansion, path: string): readonly Shape[] {
    if (isWider || isNarrower) throw new Unenforceable(path, "a schema whose opposite can be said");
    return shapes;
  }

  #orLeave<T>(path: string, found: Json, run: () => T): T | undefined {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof Unenforceable)) throw error;
      this.leave(path, found, error.what);
      return undefined;
    }
  }
}

/** Where it isn't strict, objects that list properties have no others, unless the schema says so. */
export function isClosedByDefault({ additional, properties, patterns }: ObjectShape, strict: boolean): boolean {
  return !strict && additional === undefined && properties.size > 0 && patterns.length === 0;
}

function exact(shapes: readonly Shape[]): Expansion {
  return { shapes, isWider: false, isNarrower: false };
}

function chosen(one: Expansion): Expansion {
  return { ...one, shapes: asChosen(one.shapes) };
}

/** Without those that others hold already, as far as that is plain to see. */
function distinct(shapes: readonly Shape[], nodes: Nodes): readonly Shape[] {
  if (shapes.length < 2) return shapes;
  const full = new Set(shapes.filter((shape) => isFull(shape, nodes) && !isSilent(shape)).map(({ type }) => type));
  const kept = new Map<string, Shape>();
  for (const shape of shapes) {
    if (full.has(shape.type) && !(isFull(shape, nodes) && !isSilent(shape))) continue;
    kept.set(keyOf(shape), kept.get(keyOf(shape)) ?? shape);
  }
  return [...kept.values()];
}

/** Fullness that a default may take away. */
function isSilent(shape: Shape): boolean {
  return shape.type === "object" && shape.properties.size > 0;
}

function keyOf(shape: Shape): string {
  const plain = (_: string, value: unknown) => {
    if (value instanceof Map) return [...value];
    if (value instanceof Set) return [...value];
    if (value === Infinity) return "Infinity";
    return isNode(value) ? value.id : value;
  };
  return JSON.stringify(
    { ...shape, chosen: undefined, path: undefined, unique: undefined, isUnique: shape.type === "array" && shape.unique !== undefined },
    plain,
  );
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "expression" in value;
}
