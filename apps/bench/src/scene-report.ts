// What is shown of the scenes beside their figures: tokens read again by workload, and a chat turn by turn.

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { BySide, Measured } from "./rounds.ts";
import type { ReuseRow, Turn } from "./sides.ts";
import { median } from "./statistics.ts";
import { short } from "./table.ts";

export interface Table {
  readonly name: string;
  readonly lines: readonly string[];
  readonly rows: string[][];
}

/** Of the scenes that were measured. `picture`: where that of the chat is. */
export function tablesOf({ size: { model }, chats, reuse }: Measured, machine: string, picture?: string): Table[] {
  const name = `Chat, ${model}, ${machine}`;
  const chat = {
    name,
    lines: [
      "Time to first token and tokens read, turn by turn: medians of the rounds.",
      ...(picture ? ["", `![${name}](${picture})`] : []),
    ],
    rows: turnTable(medianTurns(chats)),
  };
  const lines = [
    "Tokens that the second and the third request of each workload read although they had been read before. node-llama-cpp keeps states where",
    "its own chat does, and then, by hand, at each message end.",
  ];
  return [...(chats.length > 0 ? [chat] : []), ...(reuse ? [{ name: `Tokens read again, ${model}`, lines, rows: reuseTable(reuse) }] : [])];
}

/** Tokens read again by the second and third request of each workload. */
export function reuseTable({ ours, theirs }: BySide<readonly ReuseRow[]>): string[][] {
  const later = (counts: readonly number[] | undefined) => counts?.slice(1).join(", ") ?? "";
  const met = ({ again, target }: ReuseRow) => again.every((count, i) => count <= target[i]);
  const rows = ours!.map((row, i) => {
    const peer = theirs?.[i];
    return [row.workload, later(row.target), later(row.again), later(peer?.again), later(peer?.againByHand), met(row) ? "met" : "missed"];
  });
  return [["workload", "target", "ours", "node-llama-cpp", "with checkpoints by hand", "ours and the target"], ...rows];
}

/** A turn of every round: medians. */
export interface MedianTurn {
  readonly side: "ours" | "node-llama-cpp";
  readonly turn: number;
  readonly tokens: number;
  readonly read: number;
  readonly seconds: number;
}

export function medianTurns(chats: readonly BySide<readonly Turn[]>[]): MedianTurn[] {
  const of = (side: MedianTurn["side"], runs: readonly (readonly Turn[])[]): MedianTurn[] =>
    (runs[0] ?? []).map(({ tokens, read }, i) => {
      return { side, turn: i + 1, tokens, read, seconds: median(runs.map((run) => run[i].firstTokenMs)) / 1000 };
    });
  return [
    ...of(
      "ours",
      chats.flatMap(({ ours }) => (ours ? [ours] : [])),
    ),
    ...of(
      "node-llama-cpp",
      chats.flatMap(({ theirs }) => (theirs ? [theirs] : [])),
    ),
  ];
}

export function turnTable(turns: readonly MedianTurn[]): string[][] {
  const ours = turns.filter(({ side }) => side === "ours");
  const rows = ours.map(({ turn, tokens, read, seconds }) => {
    const peer = turns.find((other) => other.side !== "ours" && other.turn === turn);
    return [turn, tokens, read, peer?.read ?? "", short(seconds), peer ? short(peer.seconds) : ""].map(String);
  });
  return [["turn", "tokens of the prompt", "read: ours", "theirs", "s to first token: ours", "theirs"], ...rows];
}

/** Time to first token by turn, as SVG. */
export function turnChart(turns: readonly MedianTurn[], title: string): string {
  const { document } = parseHTML("<html></html>");
  const svg = Plot.plot({
    document,
    width: 860,
    marginTop: 40,
    marginLeft: 60,
    marginRight: 30,
    marginBottom: 44,
    style: { background: "white", fontSize: "12px" },
    x: { label: "tokens of the prompt", labelAnchor: "center", labelArrow: "none" },
    y: { label: "s to first token", labelAnchor: "center", labelArrow: "none", type: "log", grid: true },
    color: { domain: ["ours", "node-llama-cpp"], range: ["#4c78a8", "#e45756"] },
    marks: [
      Plot.text([title], { frameAnchor: "top-left", dy: -26, fontWeight: "bold" }),
      Plot.lineY(turns, { x: "tokens", y: "seconds", stroke: "side", marker: "circle" }),
      Plot.text(turns, Plot.selectLast({ x: "tokens", y: "seconds", z: "side", text: "side", fill: "side", dy: -12, textAnchor: "end" })),
    ],
  });
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${svg.outerHTML}\n`;
}
