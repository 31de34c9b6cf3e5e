import { useEffect, useState } from "preact/hooks";
import type { Stretch, TreeBranch } from "../channel/service.ts";
import type { Client } from "./client.ts";
import { count } from "./format.ts";
import { useStore } from "./use-store.ts";

const meanings: Readonly<Record<NonNullable<Stretch["state"]>, string>> = {
  held: "a conversation stands here: it goes on at once",
  kept: "kept: what begins so is not read again",
  dropped: "had to go for want of room: it would be read again",
};

/** What the model has read, and where it can go on without reading. */
export function TreePicture({ client }: { client: Client }) {
  const { answers, states } = useStore(client.live);
  const { phase } = useStore(client.model);
  const [tree, setTree] = useState<readonly TreeBranch[]>([]);
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
  if (tree.length === 0) return <p class="soft">Nothing was read yet.</p>;
  return (
    <>
      <ul class="tree">
        {tree.map((branch) => (
          <Branch key={keyOf(branch)} branch={branch} />
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

const keyOf = ({ stretches: [{ depth, text }] }: TreeBranch) => `${depth} ${text}`;

/** Stretches of a long conversation that are shown: its last ones. */
const mostStretches = 40;

/** Stretch after stretch, and indented what goes on from there. */
function Branch({ branch: { stretches, children } }: { branch: TreeBranch }) {
  const hidden = Math.max(0, stretches.length - mostStretches);
  return (
    <li>
      {hidden > 0 && <p class="soft">{count(hidden)} more before</p>}
      {stretches.slice(hidden).map((one) => (
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
            <Branch key={keyOf(child)} branch={child} />
          ))}
        </ul>
      )}
    </li>
  );
}
