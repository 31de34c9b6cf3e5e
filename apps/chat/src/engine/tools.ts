// What the page's model may call: a calculator, a clock and a brush, which run where the model runs. The small model was taught these names.

import type { Tool } from "jamba";

type Numbers = { readonly a: number; readonly b: number };
interface Arguments {
  add: Numbers;
  multiply: Numbers;
  get_time: { readonly place: string };
  paint: { readonly thing: string; readonly colour: string };
}

const word = { type: "string" };
const object = (properties: Record<string, object>) => ({ type: "object", properties, required: Object.keys(properties) });
const numbers = object({ a: { type: "number" }, b: { type: "number" } });

/** As the small model has seen results: with Python's spaces. */
const told = (name: string, value: number | boolean) => `{"${name}": ${value}}`;

/** @param paint gives the page a colour, by its name */
export function pageTools(paint: (colour: string) => void): { readonly [Name in keyof Arguments]: Tool<Arguments[Name]> } {
  return {
    add: { description: "Add two numbers", parameters: numbers, run: ({ a, b }) => told("sum", a + b) },
    multiply: { description: "Multiply two numbers", parameters: numbers, run: ({ a, b }) => told("product", a * b) },
    get_time: {
      description: "Get the time at a place",
      parameters: object({ place: word }),
      // The hour as a clock on a wall shows it, in this browser's time zone whatever the place.
      run: () => told("time", new Date().getHours() % 12 || 12),
    },
    paint: {
      description: "Paint a thing in a colour",
      parameters: object({ thing: word, colour: word }),
      run: ({ colour }) => {
        paint(colour);
        return told("done", true);
      },
    },
  };
}
