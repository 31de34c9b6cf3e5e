// Sets of values, written as expressions over the schemas of a document. Equal expressions are one node, so that recursion ends.

import { isObject, type Json, type JsonObject } from "./words.ts";

export type Expression =
  | { readonly kind: "any" }
  | { readonly kind: "never" }
  | { readonly kind: "schema"; readonly schema: JsonObject }
  | { readonly kind: "all" | "some"; readonly nodes: readonly Node[] }
  | { readonly kind: "not"; readonly node: Node };

export interface Node {
  readonly id: number;
  /** Where the user finds it. */
  readonly path: string;
  readonly expression: Expression;
}

export class Nodes {
  readonly any: Node = { id: 0, path: "", expression: { kind: "any" } };
  readonly never: Node = { id: 1, path: "", expression: { kind: "never" } };
  readonly #bySchema = new Map<JsonObject, Node>();
  readonly #byKey = new Map<string, Node>();
  #count = 2;

  get count(): number {
    return this.#count;
  }

  schema(schema: Json, path: string): Node | undefined {
    if (schema === true) return this.any;
    if (schema === false) return this.never;
    if (!isObject(schema)) return undefined;
    if (Object.keys(schema).length === 0) return this.any;
    const known = this.#bySchema.get(schema);
    if (known) return known;
    const node = this.#make(path, { kind: "schema", schema });
    this.#bySchema.set(schema, node);
    return node;
  }

  /** Exactly one value. */
  constant(value: Json, path: string): Node {
    return this.#once(`=${JSON.stringify(value)}`, path, () => ({
      kind: "schema",
      schema: Object.assign(Object.create(null), { const: value }),
    }));
  }

  all(nodes: readonly Node[], path: string): Node {
    const kept = this.#flat("all", nodes).filter((node) => node !== this.any);
    if (kept.includes(this.never)) return this.never;
    if (kept.some(({ expression }) => expression.kind === "not" && kept.includes(expression.node))) return this.never;
    if (kept.length < 2) return kept[0] ?? this.any;
    return this.#once(`&${ids(kept)}`, path, () => ({ kind: "all", nodes: kept }));
  }

  some(nodes: readonly Node[], path: string): Node {
    const kept = this.#flat("some", nodes).filter((node) => node !== this.never);
    if (kept.includes(this.any)) return this.any;
    if (kept.length < 2) return kept[0] ?? this.never;
    return this.#once(`|${ids(kept)}`, path, () => ({ kind: "some", nodes: kept }));
  }

  not(node: Node, path: string): Node {
    if (node === this.any) return this.never;
    if (node === this.never) return this.any;
    if (node.expression.kind === "not") return node.expression.node;
    return this.#once(`!${node.id}`, path, () => ({ kind: "not", node }));
  }

  #flat(kind: "all" | "some", nodes: readonly Node[]): Node[] {
    return [...new Set(nodes.flatMap((node) => (node.expression.kind === kind ? node.expression.nodes : [node])))];
  }

  #once(key: string, path: string, expression: () => Expression): Node {
    const known = this.#byKey.get(key);
    if (known) return known;
    const node = this.#make(path, expression());
    this.#byKey.set(key, node);
    return node;
  }

  #make(path: string, expression: Expression): Node {
    return { id: this.#count++, path, expression };
  }
}

function ids(nodes: readonly Node[]): string {
  return nodes.map(({ id }) => id).join();
}
