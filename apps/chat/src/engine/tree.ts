// The picture of what the model has read: the tree of its states, with words in place of tokens.

import type { JambaModel, ReadTree } from "jamba";
import type { TreeNode } from "../channel/service.ts";

/** Tokens of each end of a stretch that are shown; what is between them is left out. */
const shownTokens = 24;

export function treeOf(model: Pick<JambaModel, "readTree" | "tokenizer">): TreeNode {
  const textOf = (ids: readonly number[]) => {
    if (ids.length <= 2 * shownTokens) return model.tokenizer.decode(ids);
    return `${model.tokenizer.decode(ids.slice(0, shownTokens))} … ${model.tokenizer.decode(ids.slice(-shownTokens))}`;
  };
  const nodeOf = ({ ids, depth, state, children }: ReadTree): TreeNode => ({
    text: textOf(ids),
    tokens: ids.length,
    depth,
    state,
    children: children.map(nodeOf),
  });
  return nodeOf(model.readTree());
}
