// Charts that mirror the announcement's, of what was measured here.

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { Fit, Point } from "./command.ts";
import { twins } from "./twins.ts";

const color = { domain: [...twins], range: ["#e45756", "#4c78a8", "#72b7b2", "#b279a2"] };
const common = () => ({
  document: parseHTML("<html></html>").document,
  width: 860,
  marginTop: 40,
  marginLeft: 90,
  marginRight: 90,
  marginBottom: 44,
  style: { background: "white", fontSize: "12px" },
  color,
});
const thousands = (tokens: number) => `${Math.round(tokens / 1024)}K`;
const headingOf = (title: string) => Plot.text([title], { frameAnchor: "top-left", dy: -26, fontWeight: "bold" });

function svgOf(plot: ReturnType<typeof Plot.plot>): string {
  plot.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${plot.outerHTML}\n`;
}

/** Tokens per second of answers of 512 tokens over the context before them, of as many sequences as fit. */
export function contextChart(points: readonly Point[], title: string): string {
  const most = points.filter(({ manner }) => manner === "budget");
  const marks = { x: "context", y: "endToEnd", stroke: "twin" } as const;
  return svgOf(
    Plot.plot({
      ...common(),
      x: {
        label: "tokens of context",
        type: "log",
        base: 2,
        ticks: [...new Set(points.map(({ context }) => context))],
        tickFormat: thousands,
        labelAnchor: "center",
        labelArrow: "none",
      },
      y: { label: "tokens/s, 512 end to end", type: "log", grid: true, labelAnchor: "center", labelArrow: "none" },
      marks: [
        headingOf(title),
        Plot.lineY(most, { ...marks, marker: "circle" }),
        Plot.text(
          most,
          Plot.selectLast({ x: "context", y: "endToEnd", z: "twin", text: "twin", fill: "twin", dx: 8, textAnchor: "start" }),
        ),
      ],
    }),
  );
}

/** Tokens of a single sequence that fit in the budget; of a Mamba alone any number does. */
export function fitChart(all: readonly Fit[], title: string): string {
  const fits = all.filter(({ kvBytesPerToken }) => kvBytesPerToken > 0);
  return svgOf(
    Plot.plot({
      ...common(),
      x: { label: "tokens of the longest context", grid: true, tickFormat: thousands, labelAnchor: "center", labelArrow: "none" },
      y: { label: null, domain: fits.map(({ twin }) => twin) },
      marks: [
        headingOf(title),
        Plot.barX(fits, { x: "longestContext", y: "twin", fill: "twin" }),
        Plot.text(fits, {
          x: "longestContext",
          y: "twin",
          text: ({ longestContext }: Fit) => thousands(longestContext),
          dx: 6,
          textAnchor: "start",
        }),
      ],
    }),
  );
}
