// A tree as places where a match may be, with steps that take a letter and edges that take none.

import type { Alphabet } from "./alphabet.ts";
import { isTest, type Node, Unwritable } from "./nodes.ts";

export interface Place {
  /** A letter that is taken from here. */
  readonly step?: { readonly letters: Uint8Array; readonly to: number };
  readonly edges: { readonly to: number; readonly test?: Node }[];
  /** The text must end here. */
  isEnd?: boolean;
  /** Whatever follows, it matches. */
  isMatched?: boolean;
}

const maxPlaces = 5000;

export class Places {
  readonly list: Place[] = [];

  add(step?: Place["step"]): number {
    if (this.list.length >= maxPlaces) throw new Unwritable(`look-around among more than ${maxPlaces} characters, repetitions counted`);
    return this.list.push({ step, edges: [] }) - 1;
  }

  /** @returns where a match of `node` begins that goes on to `to` */
  build(node: Node, to: number, alphabet: Alphabet): number {
    if (node.kind === "set") return this.add({ letters: alphabet.lettersOf(node.ranges), to });
    if (node.kind === "sequence") return node.nodes.reduceRight((after, one) => this.build(one, after, alphabet), to);
    if (isTest(node)) return this.#from({ to, test: node });
    if (node.kind === "choice") return this.#from(...node.nodes.map((one) => ({ to: this.build(one, to, alphabet) })));
    return node.kind === "repeat" ? this.#repeat(node, to, alphabet) : to;
  }

  #from(...edges: Place["edges"]): number {
    const place = this.add();
    this.list[place].edges.push(...edges);
    return place;
  }

  #repeat({ node, min, max }: Extract<Node, { kind: "repeat" }>, to: number, alphabet: Alphabet): number {
    let at = to;
    if (max === Number.POSITIVE_INFINITY) {
      at = this.#from({ to });
      this.list[at].edges.push({ to: this.build(node, at, alphabet) });
    } else for (let i = min; i < max; i++) at = this.#from({ to }, { to: this.build(node, at, alphabet) });
    for (let i = 0; i < min; i++) at = this.build(node, at, alphabet);
    return at;
  }
}
