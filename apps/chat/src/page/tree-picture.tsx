import { useEffect, useState } from "preact/hooks";
import type { TreeNode } from "../channel/service.ts";
import type { Client } from "./client.ts";
import { count } from "./format.ts";
import { useStore } from "./store.ts";

const meanings: Readonly<Record<NonNullable<TreeNode["state"]>, string>> = {
  held: "a conversation stands here: it goes on at once",
  kept: "kept: what begins so is not read again",
  dropped: "had to go for want of room: it would be read again",
};

/** What the model has read, and where it can go on without reading. */
export function TreePicture({ client }: { client: Client }) {
  const { answers, states } = useStore(client.live);
  const { phase } = useStore(client.model);
  const [tree, setTree] = useState<TreeNode>();
  const isBusy = answers.length > 0;
  useEffect(() => {
    if (phase !== "ready" || isBusy) return;
    let isCurrent = true;
    client.calls.call("tree", null).then(
      (found) => isCurrent && setTree(found),
      () => undefined, // the owner is gone: another one tells of itself
    );
    return () => {
      isCurrent = false;
    };
  }, [client, phase, isBusy, states.count, states.bytes]);
  if (!tree || tree.children.length === 0) return <p class="soft">Nothing was read yet.</p>;
  return (
    <>
      <ul class="tree">
        {tree.children.map((node) => (
          <Branch key={`${node.depth} ${node.text}`} node={node} />
        ))}
      </ul>
      <ul class="legend">
        {Object.entries(meanings).map(([state, meaning]) => (
          <li key={state}>
            <i class={`dot ${state}`} aria-hidden="true" /> {meaning}
          </li>
        ))}
      </ul>
    </>
  );
}

/** Without the tokens that only say where a message begins and ends. */
function shownText(text: string): string {
  const plain = text
    .replaceAll(/<\|bom\|><\|(\w+)\|>|<\|im_start\|>(\w+)/g, (_, jamba, chatml) => `${jamba ?? chatml}: `)
    .replaceAll(/<\|(startoftext|endoftext|eom|bom|im_start|im_end)\|>/g, " ");
  return plain.replaceAll(/\s+/g, " ").trim() || "…";
}

/** A stretch, and those behind it: on the same line as long as there is one, indented where they part. */
function Branch({ node }: { node: TreeNode }) {
  const chain = [node];
  for (let last = node; last.children.length === 1; last = chain.at(-1)!) chain.push(last.children[0]);
  const { children } = chain.at(-1)!;
  return (
    <li>
      {chain.map((one) => (
        <div key={one.depth} class="stretch" title={one.state && meanings[one.state]}>
          <i class={`dot ${one.state ?? "none"}`} aria-hidden="true" />
          <span class="stretch-text" dir="auto">
            {shownText(one.text)}
          </span>
          <span class="stretch-tokens">
            <span class="visually-hidden">{one.state ?? "not kept"}, tokens: </span>
            {count(one.tokens)}
          </span>
        </div>
      ))}
      {children.length > 0 && (
        <ul>
          {children.map((child) => (
            <Branch key={`${child.depth} ${child.text}`} node={child} />
          ))}
        </ul>
      )}
    </li>
  );
}
