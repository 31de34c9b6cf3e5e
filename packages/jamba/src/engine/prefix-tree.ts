// What was read, as a radix tree over paths of token ids, with states kept at some of its nodes. Knows no model and no text:
// it says where a new prompt can go on, and which states to drop when there is no room for all.

import { idOf, type Path, type PathElement } from "../state/tenant.ts";

/** A state kept after `depth` tokens. Pinned ones stay whatever the budget says. */
export interface Snapshot<State, End = unknown> {
  readonly state: State;
  readonly depth: number;
  /** What follows the last token, where a prompt ended: an answer can begin at once. */
  readonly end?: End;
  pins: number;
}

interface Kept<State, End> extends Snapshot<State, End> {
  node: Node<State, End>;
  end?: End;
  readonly owner: Holdings<State, End>;
  /** The clock of the owner when it was last of use. */
  age: number;
}

/** What the tree has of one owner. */
interface Holdings<State, End> {
  readonly name: string | undefined;
  /** The ones least lately used first. */
  readonly kept: Set<Kept<State, End>>;
  /** States that are not pinned, and their pages with how many of these hold each. */
  idle: number;
  readonly pages: Map<number, number>;
  clock: number;
  /** Of the paths that it was the first to read. */
  tokens: number;
}

interface Node<State, End> {
  /** The tokens between the parent and here; only the root has none. */
  ids: Path;
  depth: number;
  parent?: Node<State, End>;
  readonly owner: Holdings<State, End>;
  readonly children: Map<PathElement, Node<State, End>>;
  kept?: Kept<State, End>;
  /** A state was here and had to go. */
  wasDropped?: boolean;
}

export interface Match<State, End = unknown> {
  /** Tokens of the prompt that were read before by whoever read the most of them, whether their state is kept or not. */
  readonly matched: number;
  /** The deepest state that the prompt can go on from. */
  readonly snapshot?: Snapshot<State, End>;
  /** A state at or beyond `snapshot`, on the way to `matched`, had to go. */
  readonly wasDropped: boolean;
  /** What was read before goes on otherwise, instead of ending where the prompt leaves it. */
  readonly parts: boolean;
}

/** A stretch of tokens that was read in one, and what was read after it. */
export interface ReadTree {
  /** Of the stretch; none at the root. */
  readonly ids: readonly number[];
  /** Tokens from the root to its end. */
  readonly depth: number;
  /** Of the state there: "held" by a call or a session, "kept" for prompts to come, or "dropped" for want of room; none was made if not given. */
  readonly state?: "held" | "kept" | "dropped";
  readonly children: readonly ReadTree[];
}

export interface TreeBudget<State> {
  /** Of states that are not pinned. */
  readonly bytes: number;
  readonly slotBytes: number;
  readonly pageBytes: number;
  pagesOf(state: State): readonly number[];
  /** Called once for each state that goes; with the tokens that it has read unless another such state stays. */
  drop(state: State, path?: () => Path, owner?: string): void;
}

/** Tokens of paths without a state that are remembered, to say why a state is not there. */
const rememberedTokens = 2 ** 20;

export class PrefixTree<State, End = unknown> {
  readonly #budget: TreeBudget<State>;
  readonly #owners = new Map<string | undefined, Holdings<State, End>>();
  readonly #root: Node<State, End> = { ids: [], depth: 0, owner: this.#holdings(undefined), children: new Map() };
  /** Pages of states that are not pinned, with how many of these hold each. */
  readonly #pages = new Map<number, number>();
  #idle = 0;
  #tokens = 0;
  /** Before the next look for paths to forget: more than may be remembered where states have them. */
  #mostTokens = rememberedTokens;

  constructor(budget: TreeBudget<State>) {
    this.#budget = budget;
  }

  /** States that are kept and not pinned, and the pages that these hold. */
  get idle(): { states: number; pages: ReadonlyMap<number, number>; bytes: number } {
    return { states: this.#idle, pages: this.#pages, bytes: this.#bytesOf(this.#idle, this.#pages.size) };
  }

  get isEmpty(): boolean {
    return this.#root.children.size === 0;
  }

  picture(): ReadTree {
    const roots: ReadTree[] = [];
    // Not by recursion: a conversation of thousands of messages is as deep.
    const found: [node: Node<State, End>, among: ReadTree[]][] = [[this.#root, roots]];
    for (const [{ ids, depth, kept, wasDropped, children }, among] of found) {
      const state = kept ? (kept.pins > 0 ? "held" : "kept") : wasDropped ? "dropped" : undefined;
      const inner: ReadTree[] = [];
      among.push({ ids: ids.map(idOf), depth, ...(state && { state }), children: inner });
      for (const child of children.values()) found.push([child, inner]);
    }
    return roots[0];
  }

  match(ids: Path): Match<State, End> {
    let node = this.#root;
    let found: Kept<State, End> | undefined;
    let wasDropped = false;
    for (;;) {
      const { kept } = node;
      // Nothing is left to read at the end of the prompt, so what follows must be there.
      if (kept && (kept.depth < ids.length || kept.end)) [found, wasDropped] = [kept, false];
      else if (node.wasDropped) wasDropped = true;
      const child = node.children.get(ids[node.depth]);
      const common = child ? commonLength(child.ids, ids, node.depth) : 0;
      if (child && common === child.ids.length) {
        node = child;
        continue;
      }
      const matched = node.depth + common;
      if (found) this.#use(found);
      return { matched, snapshot: found, wasDropped, parts: matched < ids.length && (common > 0 || node.children.size > 0) };
    }
  }

  /** Notes that `ids` are being read. */
  visit(ids: Path, owner?: string): void {
    this.#nodeAt(ids, this.#holdings(owner));
  }

  /** Takes over `state`, pinned once; drops it when there is one already. `unpin` lets it go when room is needed. */
  keep(ids: Path, state: State, { end, owner: name }: { readonly end?: End; readonly owner?: string } = {}): Snapshot<State, End> {
    const owner = this.#holdings(name);
    const node = this.#nodeAt(ids, owner);
    node.wasDropped = false;
    if (node.kept) {
      node.kept.end ??= end;
      this.#use(node.kept);
      this.#budget.drop(state);
      this.pin(node.kept);
      return node.kept;
    }
    const kept: Kept<State, End> = { state, depth: ids.length, end, pins: 1, node, owner, age: owner.clock };
    node.kept = kept;
    owner.kept.add(kept);
    return kept;
  }

  pin(snapshot: Snapshot<State, End>): void {
    snapshot.pins++;
    if (snapshot.pins === 1) this.#count(snapshot as Kept<State, End>, -1);
  }

  unpin(snapshot: Snapshot<State, End>): void {
    snapshot.pins--;
    if (snapshot.pins > 0) return;
    this.#count(snapshot as Kept<State, End>, 1);
    this.trim();
  }

  /**
   * Drops states until those that are not pinned fit `bytes`: of the owner that has most, so that nobody is left with less than an equal
   * share for what others keep; of these what is cheapest to read again for the room that it takes.
   */
  trim(bytes = this.#budget.bytes): void {
    while (this.idle.bytes > bytes && this.#idle > 0) {
      const owner = this.#largest(({ idle, pages }) => (idle === 0 ? -1 : this.#bytesOf(idle, pages.size)));
      let [least, worst] = [Number.POSITIVE_INFINITY, undefined as Kept<State, End> | undefined];
      for (const kept of owner.kept) {
        if (kept.pins > 0) continue;
        const worth = kept.age + this.#worth(kept);
        if (worth < least) [least, worst] = [worth, kept];
      }
      // What was not of use for long loses to what comes later (GreedyDual: Cao & Irani 1997).
      owner.clock = Math.max(owner.clock, least);
      this.#drop(worst!);
    }
  }

  /** Drops every state that is not pinned. */
  clear(): void {
    for (const { kept } of this.#owners.values()) for (const one of [...kept]) if (one.pins === 0) this.#drop(one);
  }

  #holdings(name: string | undefined): Holdings<State, End> {
    let found = this.#owners.get(name);
    if (!found) {
      found = { name, kept: new Set(), idle: 0, pages: new Map(), clock: 0, tokens: 0 };
      this.#owners.set(name, found);
    }
    return found;
  }

  #largest(sizeOf: (owner: Holdings<State, End>) => number): Holdings<State, End> {
    let [largest, most] = [this.#root.owner, sizeOf(this.#root.owner)];
    for (const owner of this.#owners.values()) {
      const size = sizeOf(owner);
      if (size > most) [largest, most] = [owner, size];
    }
    return largest;
  }

  #bytesOf(states: number, pages: number): number {
    return states * this.#budget.slotBytes + pages * this.#budget.pageBytes;
  }

  #use(kept: Kept<State, End>): void {
    const { owner } = kept;
    kept.age = owner.clock;
    // Last, so that of equals the one least lately used goes.
    owner.kept.delete(kept);
    owner.kept.add(kept);
  }

  /** Tokens to read again for each byte that dropping gives back. */
  #worth({ node, depth, state }: Kept<State, End>): number {
    let before = node.parent;
    while (before && !before.kept) before = before.parent;
    const tokens = depth - (before?.depth ?? 0);
    // Pages go with the last state that has them; states share them from the first one on.
    const pages = this.#budget.pagesOf(state);
    let own = 0;
    while (own < pages.length && this.#pages.get(pages[pages.length - 1 - own]) === 1) own++;
    return tokens / Math.max(1, this.#budget.slotBytes + own * this.#budget.pageBytes);
  }

  #count({ state, owner }: Kept<State, End>, by: 1 | -1): void {
    this.#idle += by;
    owner.idle += by;
    for (const page of this.#budget.pagesOf(state)) for (const pages of [this.#pages, owner.pages]) addTo(pages, page, by);
  }

  #drop(kept: Kept<State, End>): void {
    const { node, owner } = kept;
    this.#count(kept, -1);
    owner.kept.delete(kept);
    node.kept = undefined;
    node.wasDropped = true;
    this.#budget.drop(kept.state, () => pathTo(node), owner.name);
    this.#prune();
  }

  /** The node after `ids`, made if need be. */
  #nodeAt(ids: Path, owner: Holdings<State, End>): Node<State, End> {
    let node = this.#root;
    while (node.depth < ids.length) {
      const child = node.children.get(ids[node.depth]);
      if (!child) {
        const made: Node<State, End> = { ids: ids.slice(node.depth), depth: ids.length, parent: node, owner, children: new Map() };
        node.children.set(made.ids[0], made);
        this.#tokens += made.ids.length;
        owner.tokens += made.ids.length;
        node = made;
        break;
      }
      const common = commonLength(child.ids, ids, node.depth);
      node = common < child.ids.length ? split(child, common) : child;
    }
    return node;
  }

  /**
   * Forgets paths to no state once they are many, the ones least lately made first, of owners that have more than an equal share of what may
   * stay. That is less than what there may be: it takes a look at all paths, which has to serve for many states that are dropped.
   */
  #prune(): void {
    if (this.#tokens <= this.#mostTokens) return;
    const share = equalShare(
      [...this.#owners.values()].map(({ tokens }) => tokens),
      (3 / 4) * rememberedTokens,
    );
    // Not by recursion: a conversation of thousands of messages is as deep.
    const [nodes, next] = [[] as Node<State, End>[], [this.#root]];
    for (let node = next.pop(); node; node = next.pop()) {
      nodes.push(node);
      for (const child of node.children.values()) next.push(child);
    }
    for (const { ids, parent, owner, kept, children } of nodes.reverse()) {
      if (owner.tokens <= share || kept || children.size > 0 || !parent) continue;
      parent.children.delete(ids[0]);
      this.#tokens -= ids.length;
      owner.tokens -= ids.length;
    }
    for (const { name, kept, tokens } of this.#owners.values())
      if (name !== undefined && kept.size + tokens === 0) this.#owners.delete(name);
    this.#mostTokens = Math.max(rememberedTokens, this.#tokens + rememberedTokens / 4);
  }
}

/** What each may have at most, so that all together have no more than `room`. */
function equalShare(sizes: readonly number[], room: number): number {
  let left = room;
  for (const [i, size] of sizes.toSorted((a, b) => a - b).entries()) {
    const share = left / (sizes.length - i);
    if (size > share) return share;
    left -= size;
  }
  return Number.POSITIVE_INFINITY;
}

function addTo(counts: Map<number, number>, key: number, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}

/** How many of `ids` are those of `all` from `at` on. */
function commonLength(ids: Path, all: Path, at: number): number {
  let n = 0;
  while (n < ids.length && ids[n] === all[at + n]) n++;
  return n;
}

/** A node after the first `length` ids of `node`, above it. */
function split<State, End>(node: Node<State, End>, length: number): Node<State, End> {
  const { ids, parent } = node;
  const upper: Node<State, End> = {
    ids: ids.slice(0, length),
    depth: node.depth - ids.length + length,
    parent,
    owner: node.owner,
    children: new Map([[ids[length], node]]),
  };
  parent!.children.set(ids[0], upper);
  node.ids = ids.slice(length);
  node.parent = upper;
  return upper;
}

function pathTo<State, End>(node: Node<State, End>): Path {
  const parts: Path[] = [];
  for (let at: Node<State, End> | undefined = node; at; at = at.parent) parts.unshift(at.ids);
  return parts.flat();
}
