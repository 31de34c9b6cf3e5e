// What was read, as a radix tree over token ids, with states kept at some of its nodes. Knows no model and no text:
// it says where a new prompt can go on, and which states to drop when there is no room for all.

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
  /** The clock of the tree when it was last of use. */
  age: number;
}

interface Node<State, End> {
  /** The tokens between the parent and here; only the root has none. */
  ids: readonly number[];
  depth: number;
  parent?: Node<State, End>;
  readonly children: Map<number, Node<State, End>>;
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

export interface TreeBudget<State> {
  /** Of states that are not pinned. */
  readonly bytes: number;
  readonly slotBytes: number;
  readonly pageBytes: number;
  pagesOf(state: State): readonly number[];
  /** Called once for each state that goes; with the tokens that it has read unless another such state stays. */
  drop(state: State, ids?: () => number[]): void;
}

/** Tokens of paths without a state that are remembered, to say why a state is not there. */
const rememberedTokens = 2 ** 20;

export class PrefixTree<State, End = unknown> {
  readonly #budget: TreeBudget<State>;
  readonly #root: Node<State, End> = { ids: [], depth: 0, children: new Map() };
  readonly #all = new Set<Kept<State, End>>();
  /** Pages of states that are not pinned, with how many of these hold each. */
  readonly #pages = new Map<number, number>();
  #idle = 0;
  #clock = 0;
  #tokens = 0;

  constructor(budget: TreeBudget<State>) {
    this.#budget = budget;
  }

  /** States that are kept and not pinned, and the pages that these hold. */
  get idle(): { states: number; pages: ReadonlyMap<number, number>; bytes: number } {
    const { slotBytes, pageBytes } = this.#budget;
    return { states: this.#idle, pages: this.#pages, bytes: this.#idle * slotBytes + this.#pages.size * pageBytes };
  }

  get isEmpty(): boolean {
    return this.#root.children.size === 0;
  }

  match(ids: readonly number[]): Match<State, End> {
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
  visit(ids: readonly number[]): void {
    this.#nodeAt(ids);
  }

  /** Takes over `state`, pinned once; drops it when there is one already. `unpin` lets it go when room is needed. */
  keep(ids: readonly number[], state: State, end?: End): Snapshot<State, End> {
    const node = this.#nodeAt(ids);
    node.wasDropped = false;
    if (node.kept) {
      node.kept.end ??= end;
      this.#use(node.kept);
      this.#budget.drop(state);
      this.pin(node.kept);
      return node.kept;
    }
    const kept: Kept<State, End> = { state, depth: ids.length, end, pins: 1, node, age: this.#clock };
    node.kept = kept;
    this.#all.add(kept);
    return kept;
  }

  pin(snapshot: Snapshot<State, End>): void {
    snapshot.pins++;
    if (snapshot.pins === 1) this.#count(snapshot, -1);
  }

  unpin(snapshot: Snapshot<State, End>): void {
    snapshot.pins--;
    if (snapshot.pins > 0) return;
    this.#count(snapshot, 1);
    this.trim();
  }

  /** Drops states until those that are not pinned fit `bytes`: first what is cheapest to read again for the room that it takes. */
  trim(bytes = this.#budget.bytes): void {
    while (this.idle.bytes > bytes && this.#idle > 0) {
      let [least, worst] = [Number.POSITIVE_INFINITY, undefined as Kept<State, End> | undefined];
      for (const kept of this.#all) {
        if (kept.pins > 0) continue;
        const worth = kept.age + this.#worth(kept);
        if (worth < least) [least, worst] = [worth, kept];
      }
      // What was not of use for long loses to what comes later (GreedyDual: Cao & Irani 1997).
      this.#clock = Math.max(this.#clock, least);
      this.#drop(worst!);
    }
  }

  /** Drops every state that is not pinned. */
  clear(): void {
    this.trim(-1);
  }

  #use(kept: Kept<State, End>): void {
    kept.age = this.#clock;
    // Last, so that of equals the one least lately used goes.
    this.#all.delete(kept);
    this.#all.add(kept);
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

  #count({ state }: Snapshot<State, End>, by: 1 | -1): void {
    this.#idle += by;
    for (const page of this.#budget.pagesOf(state)) {
      const users = (this.#pages.get(page) ?? 0) + by;
      if (users > 0) this.#pages.set(page, users);
      else this.#pages.delete(page);
    }
  }

  #drop(kept: Kept<State, End>): void {
    const { node } = kept;
    this.#count(kept, -1);
    this.#all.delete(kept);
    node.kept = undefined;
    node.wasDropped = true;
    this.#budget.drop(kept.state, () => pathOf(node));
    this.#prune();
  }

  /** The node after `ids`, made if need be. */
  #nodeAt(ids: readonly number[]): Node<State, End> {
    let node = this.#root;
    while (node.depth < ids.length) {
      const child = node.children.get(ids[node.depth]);
      if (!child) {
        const made: Node<State, End> = { ids: ids.slice(node.depth), depth: ids.length, parent: node, children: new Map() };
        node.children.set(made.ids[0], made);
        this.#tokens += made.ids.length;
        node = made;
        break;
      }
      const common = commonLength(child.ids, ids, node.depth);
      node = common < child.ids.length ? split(child, common) : child;
    }
    return node;
  }

  /** Forgets paths to no state, the ones least lately made first, once they are many. */
  #prune(): void {
    if (this.#tokens <= rememberedTokens) return;
    const walk = (node: Node<State, End>): void => {
      for (const child of [...node.children.values()]) walk(child);
      if (this.#tokens <= rememberedTokens || node.kept || node.children.size > 0 || !node.parent) return;
      node.parent.children.delete(node.ids[0]);
      this.#tokens -= node.ids.length;
    };
    walk(this.#root);
  }
}

/** How many of `ids` are those of `all` from `at` on. */
function commonLength(ids: readonly number[], all: readonly number[], at: number): number {
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
    children: new Map([[ids[length], node]]),
  };
  parent!.children.set(ids[0], upper);
  node.ids = ids.slice(length);
  node.parent = upper;
  return upper;
}

function pathOf<State, End>(node: Node<State, End>): number[] {
  const parts: (readonly number[])[] = [];
  for (let at: Node<State, End> | undefined = node; at; at = at.parent) parts.unshift(at.ids);
  return parts.flat();
}
