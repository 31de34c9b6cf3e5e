// The picture of what the model has read: the tree of its states, with words in place of tokens.

import type { JambaModel, ReadTree } from "jamba";
import type { Stretch, TreeBranch } from "../channel/service.ts";

/** Tokens of each end of a stretch that are shown; what is between them is left out. */
const shownTokens = 24;

/** As deep as what was read parts, and no deeper: a long conversation is one branch of many stretches. */
export function treeOf({
  readTree,
  tokenizer,
}: {
  readTree(): ReadTree;
  tokenizer: Pick<JambaModel["tokenizer"], "decode">;
}): TreeBranch[] {
  const stretchOf = ({ ids, depth, state }: ReadTree): Stretch => {
    const isLong = ids.length > 2 * shownTokens;
    const text = isLong
      ? `${tokenizer.decode(ids.slice(0, shownTokens))} … ${tokenizer.decode(ids.slice(-shownTokens))}`
      : tokenizer.decode(ids);
    return { text, tokens: ids.length, depth, ...(state && { state }) };
  };
  const branchOf = (first: ReadTree): TreeBranch => {
    const stretches = [stretchOf(first)];
    let last = first;
    while (last.children.length === 1) {
      last = last.children[0];
      stretches.push(stretchOf(last));
    }
    return { stretches, children: last.children.map(branchOf) };
  };
  return readTree().children.map(branchOf);
}
