// The tree against a list of everything that was ever read: what it finds, what it drops, and that it counts right.

import fc from "fast-check";
import { expect, test } from "vitest";
import { PrefixTree, type ReadTree, type Snapshot } from "./prefix-tree.ts";

interface State {
  readonly name: number;
  readonly pages: readonly number[];
}

const pageTokens = 3;
const slotBytes = 10;
const pageBytes = 4;

/** Beside the tree, the same in plain lists. */
class Twin {
  readonly tree: PrefixTree<State>;
  readonly seen: number[][] = [];
  readonly kept: { ids: number[]; state: State; hasLogits: boolean; snapshot: Snapshot<State> }[] = [];
  readonly lost: number[][] = [];
  readonly dropped = new Set<number>();
  readonly pins: Snapshot<State>[] = [];
  names = 0;
  pages = 0;

  constructor(readonly bytes: number) {
    const drop = (state: State, path?: () => number[]) => {
      expect(this.dropped.has(state.name)).toBe(false);
      this.dropped.add(state.name);
      const at = this.kept.findIndex((one) => one.state === state);
      if (at < 0) expect(path).toBeUndefined();
      else {
        const [{ ids, snapshot }] = this.kept.splice(at, 1);
        expect(snapshot.pins).toBe(0);
        expect(path!()).toEqual(ids);
        this.lost.push(ids);
      }
    };
    this.tree = new PrefixTree({ bytes, slotBytes, pageBytes, pagesOf: (state) => state.pages, drop });
  }

  /** As an engine does it: from the deepest state on, with its full pages shared. */
  keep(ids: number[], hasLogits: boolean): void {
    const from = this.tree.match(ids).snapshot;
    const shared = from ? from.state.pages.slice(0, Math.floor(from.depth / pageTokens)) : [];
    const own = Array.from({ length: Math.ceil(ids.length / pageTokens) - shared.length }, () => this.pages++);
    const state = { name: this.names++, pages: [...shared, ...own] };
    const snapshot = this.tree.keep(ids, state, hasLogits ? { end: new Float32Array([ids.length]) } : {});
    this.seen.push(ids);
    this.pins.push(snapshot);
    const before = this.kept.find((one) => one.snapshot === snapshot);
    if (before) before.hasLogits ||= hasLogits;
    else {
      this.kept.push({ ids, state, hasLogits, snapshot });
      for (let at = this.lost.length - 1; at >= 0; at--) if (same(this.lost[at], ids)) this.lost.splice(at, 1);
    }
    expect(snapshot.depth).toBe(ids.length);
    expect(this.dropped.has(state.name)).toBe(before !== undefined);
    this.match(ids);
  }

  match(ids: number[]): void {
    const found = this.tree.match(ids);
    const usable = this.kept.filter(
      (one) => commonLength(one.ids, ids) === one.ids.length && (one.ids.length < ids.length || one.hasLogits),
    );
    const deepest = usable.sort((a, b) => b.ids.length - a.ids.length)[0];
    expect(found.snapshot).toBe(deepest?.snapshot);
    const matched = Math.max(0, ...this.seen.map((one) => commonLength(one, ids)));
    expect(found.matched).toBe(matched);
    const goesOn = this.seen.some((one) => commonLength(one, ids) === matched && one.length > matched);
    expect(found.parts).toBe(goesOn && matched < ids.length);
    const depth = deepest?.ids.length ?? -1;
    expect(found.wasDropped).toBe(this.lost.some((one) => one.length > depth && commonLength(one, ids) === one.length));
  }

  check(): void {
    const idle = this.kept.filter(({ snapshot }) => snapshot.pins === 0);
    const pages = new Map<number, number>();
    for (const { state } of idle) for (const page of state.pages) pages.set(page, (pages.get(page) ?? 0) + 1);
    const { states, bytes, pages: counted } = this.tree.idle;
    expect(states).toBe(idle.length);
    expect(new Map(counted)).toEqual(pages);
    expect(bytes).toBe(idle.length * slotBytes + pages.size * pageBytes);
    expect(bytes).toBeLessThanOrEqual(this.bytes);
    expect(this.dropped.size).toBe(this.names - this.kept.length);
    for (const { snapshot } of this.kept) expect(snapshot.pins).toBe(this.pins.filter((one) => one === snapshot).length);
    const stateOf = (pins: number) => (pins > 0 ? "held" : "kept");
    const kept = this.kept.map(({ ids, snapshot }) => `${ids} ${stateOf(snapshot.pins)}`);
    const lost = this.lost.map((ids) => `${ids} dropped`);
    expect(statesOf(this.tree.picture()).sort()).toEqual([...new Set([...kept, ...lost])].sort());
  }
}

function statesOf({ ids, depth, state, children }: ReadTree, before: readonly number[] = []): string[] {
  const path = [...before, ...ids];
  expect(path.length).toBe(depth);
  return [...(state ? [`${path} ${state}`] : []), ...children.flatMap((child) => statesOf(child, path))];
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && commonLength(a, b) === a.length;

// Two letters and short texts: prefixes of each other, splits inside edges and repeats are the rule.
const ids = fc.oneof(...[3, 12].map((maxLength) => fc.array(fc.integer({ min: 0, max: 1 }), { maxLength })));
const action = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("keep" as const), ids, hasLogits: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("visit" as const), ids }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("match" as const), ids }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("unpin" as const), who: fc.nat(99) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("pin" as const), who: fc.nat(99) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("trim" as const), bytes: fc.nat(100) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("clear" as const) }) },
);

test("whatever is kept, visited, pinned and dropped: the tree finds what a list of it all would", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), fc.constantFrom(0, 30, 60, 200, 10_000), (actions, bytes) => {
      const twin = new Twin(bytes);
      for (const one of actions) {
        if (one.kind === "keep") twin.keep(one.ids, one.hasLogits);
        else if (one.kind === "match") twin.match(one.ids);
        else if (one.kind === "visit") {
          twin.tree.visit(one.ids);
          twin.seen.push(one.ids);
        } else if (one.kind === "unpin" && twin.pins.length > 0) {
          const [snapshot] = twin.pins.splice(one.who % twin.pins.length, 1);
          twin.tree.unpin(snapshot);
        } else if (one.kind === "pin" && twin.kept.length > 0) {
          const { snapshot } = twin.kept[one.who % twin.kept.length];
          twin.tree.pin(snapshot);
          twin.pins.push(snapshot);
        } else if (one.kind === "trim") {
          twin.tree.trim(Math.min(bytes, one.bytes));
          expect(twin.tree.idle.bytes).toBeLessThanOrEqual(Math.min(bytes, one.bytes));
        } else if (one.kind === "clear") {
          twin.tree.clear();
          expect(twin.tree.idle.states).toBe(0);
        }
        twin.check();
      }
      for (const { ids } of [...twin.kept]) twin.match([...ids, 0]);
      for (const snapshot of twin.pins.splice(0)) twin.tree.unpin(snapshot);
      twin.tree.clear();
      twin.check();
      expect(twin.dropped.size).toBe(twin.names);
    }),
    { seed: 11, numRuns: 500 },
  );
});

test("of states used at the same time, those go first that give back most room for what they cost to read again", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ ids, keep: fc.boolean() }), { minLength: 2, maxLength: 25 }), (reads) => {
      const twin = new Twin(10_000);
      for (const { ids, keep } of reads) {
        if (keep) twin.keep(ids, false);
        else twin.tree.visit(ids);
      }
      for (const snapshot of twin.pins.splice(0)) twin.tree.unpin(snapshot);
      if (twin.kept.length < 2) return;
      const costs = new Map(
        twin.kept.map(({ ids, state }) => {
          const others = twin.kept.filter((one) => one.state !== state);
          const before = others.map((one) => one.ids).filter((one) => one.length < ids.length && commonLength(one, ids) === one.length);
          const shared = new Set(others.flatMap((one) => one.state.pages));
          const back = slotBytes + pageBytes * state.pages.filter((page) => !shared.has(page)).length;
          return [state.name, (ids.length - Math.max(0, ...before.map((one) => one.length))) / back] as const;
        }),
      );
      const least = Math.min(...costs.values());
      twin.tree.trim(twin.tree.idle.bytes - 1);
      expect(costs.get([...twin.dropped].find((name) => costs.has(name))!)).toBeCloseTo(least, 12);
    }),
    { seed: 12, numRuns: 500 },
  );
});

test("a state that nobody comes back to goes in the end, however much it cost to read", () => {
  const twin = new Twin(3 * (slotBytes + 4 * pageBytes));
  const unpin = () => {
    for (const snapshot of twin.pins.splice(0)) twin.tree.unpin(snapshot);
  };
  twin.keep(Array(12).fill(9), false);
  unpin();
  // Half as dear, always others.
  for (let i = 10; i < 60; i++) {
    twin.keep(Array(6).fill(i), false);
    unpin();
  }
  expect(twin.dropped.has(0)).toBe(true);
});

test("a state that is come back to stays, though others are as dear", () => {
  const twin = new Twin(3 * (slotBytes + 2 * pageBytes));
  const often = Array(6).fill(9);
  twin.keep(often, true);
  for (let i = 10; i < 60; i++) {
    for (const snapshot of twin.pins.splice(0)) twin.tree.unpin(snapshot);
    twin.keep(Array(6).fill(i), false);
    expect(twin.tree.match(often).snapshot?.depth).toBe(6);
  }
});

test("paths without a state are forgotten once they are many, those with one are not", () => {
  const twin = new Twin(10_000);
  const path = (first: number) => [first, ...Array(2 ** 16 - 1).fill(7)];
  twin.keep([1, 2, 3], false);
  for (let i = 10; i < 40; i++) twin.tree.visit(path(i));
  expect(twin.tree.match(path(10)).matched).toBe(2 ** 16);
  twin.keep([4], false);
  twin.tree.unpin(twin.pins.pop()!);
  twin.tree.clear();
  expect(twin.tree.match([1, 2, 3, 4]).snapshot?.depth).toBe(3);
  expect(twin.tree.match(path(10)).matched).toBe(0);
  expect(twin.tree.match(path(39)).matched).toBe(2 ** 16);
});

test("attention layers alone have no slots: what gives back nothing is no reason to stumble", () => {
  const tree = new PrefixTree<readonly number[]>({
    bytes: 100,
    slotBytes: 0,
    pageBytes: 1,
    pagesOf: (pages) => pages,
    drop: () => undefined,
  });
  const kept = [[1], [1, 2], [1, 2, 3]].map((ids) => tree.keep(ids, [1, 2, 3]));
  for (const one of kept) tree.unpin(one);
  tree.clear();
  expect(tree.idle).toMatchObject({ states: 0, bytes: 0 });
});

test("whoever keeps how much, what goes is of the owner that has most", () => {
  const kept = fc.record({ owner: fc.nat(2), first: fc.nat(5), length: fc.integer({ min: 1, max: 12 }) });
  fc.assert(
    fc.property(fc.array(kept, { maxLength: 60 }), fc.integer({ min: 20, max: 200 }), (all, bytes) => {
      const held = new Map<number, { owner: string; bytes: number }>();
      const heldBy = (owner: string) => [...held.values()].reduce((sum, one) => sum + (one.owner === owner ? one.bytes : 0), 0);
      let names = 0;
      const drop = (state: State, path?: unknown, owner?: string) => {
        // The second of one path.
        if (!path) return;
        for (const other of ["0", "1", "2"]) expect(heldBy(owner!)).toBeGreaterThanOrEqual(heldBy(other));
        held.delete(state.name);
      };
      const tree = new PrefixTree<State>({ bytes, slotBytes, pageBytes, pagesOf: (state) => state.pages, drop });
      for (const { owner, first, length } of all) {
        const name = names++;
        const pages = Array.from({ length: Math.ceil(length / pageTokens) }, (_, i) => 100 * name + i);
        const path = [`${first}:${owner}`, ...Array(length - 1).fill(1)];
        const snapshot = tree.keep(path, { name, pages }, { owner: String(owner) });
        if (snapshot.state.name === name) held.set(name, { owner: String(owner), bytes: slotBytes + pages.length * pageBytes });
        tree.unpin(snapshot);
        expect(tree.idle.bytes).toBe([...held.values()].reduce((sum, one) => sum + one.bytes, 0));
      }
    }),
    { seed: 13, numRuns: 300 },
  );
});

test("paths of one who reads much are forgotten before those of others", () => {
  const twin = new Twin(10_000);
  const path = (first: number) => [first, ...Array(2 ** 16 - 1).fill(7)];
  twin.tree.visit(path(1), "little");
  for (let i = 10; i < 40; i++) twin.tree.visit(path(i), "much");
  twin.keep([4], false);
  twin.tree.unpin(twin.pins.pop()!);
  twin.tree.clear();
  expect(twin.tree.match(path(1)).matched).toBe(2 ** 16);
  expect(twin.tree.match(path(10)).matched).toBe(0);
});

function plainTree(bytes: number): PrefixTree<State> {
  return new PrefixTree<State>({ bytes, slotBytes, pageBytes, pagesOf: (state) => state.pages, drop: () => undefined });
}

test("a conversation of thousands of messages has a picture as deep, and its states go like others", () => {
  const tree = plainTree(Number.MAX_SAFE_INTEGER);
  const messages = 12_000;
  const ids = Array.from({ length: messages }, (_, i) => i % 7);
  // The deepest first: the other way round each walks through all before it.
  const snapshots = Array.from({ length: messages }, (_, i) => tree.keep(ids.slice(0, messages - i), { name: i, pages: [] }));
  let depth = 0;
  for (let at: ReadTree | undefined = tree.picture(); at; at = at.children[0]) depth = at.depth;
  expect(depth).toBe(messages);
  for (let i = 10; i < 40; i++) tree.visit([i, ...Array(2 ** 16 - 1).fill(7)]);
  for (const snapshot of snapshots.slice(0, 20)) tree.unpin(snapshot);
  tree.trim(10 * slotBytes);
  expect(tree.idle.states).toBe(10);
  expect(tree.match(ids).snapshot).toBeDefined();
});

test("of many owners each keeps some of what was read, and most is forgotten of those who read most", () => {
  const tree = plainTree(slotBytes);
  const path = (owner: number, i: number, length: number) => [1000 + owner, i, ...Array(length - 2).fill(7)];
  const owners = Array.from({ length: 500 }, (_, owner) => owner);
  const lengthOf = (owner: number) => (owner % 50 === 0 ? 1000 : 100);
  for (let i = 0; i < 100; i++)
    for (const owner of owners) if (i < 10 || owner % 50 === 0) tree.visit(path(owner, i, lengthOf(owner)), `${owner}`);
  for (const first of [1, 2]) tree.unpin(tree.keep([first], { name: first, pages: [] }));
  const remembered = (owner: number) => Array.from({ length: 100 }, (_, i) => tree.match(path(owner, i, lengthOf(owner))).matched > 2);
  for (const owner of owners.filter((owner) => owner % 50 !== 0)) expect(remembered(owner).filter(Boolean)).toHaveLength(10);
  for (const owner of owners.filter((owner) => owner % 50 === 0)) {
    const kept = remembered(owner);
    // The last that were read.
    expect(kept).toEqual(kept.toSorted());
    expect(kept.filter(Boolean).length).toBeGreaterThan(10);
    expect(kept.filter(Boolean).length).toBeLessThan(60);
  }
});
