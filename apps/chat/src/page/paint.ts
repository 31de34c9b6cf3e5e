// The page in a colour that its model chose: mixed with ink or paper, so that text on it and in it stays readable.

export function paint(colour: string): void {
  if (!CSS.supports("color", colour)) return;
  const { style } = document.documentElement;
  style.setProperty("--accent", `light-dark(color-mix(in oklab, ${colour} 45%, #1f1b18), color-mix(in oklab, ${colour} 45%, #ffffff))`);
  style.setProperty("--tint", `light-dark(color-mix(in oklab, ${colour} 10%, #ffffff), color-mix(in oklab, ${colour} 18%, #211e1b))`);
}
