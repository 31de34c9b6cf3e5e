// What the page's model may call: a calculator, a clock and a brush, which run where the model runs. The small model was taught these names.

import type { Tool } from "jamba";

type Numbers = { readonly a: number; readonly b: number };
interface Arguments {
  add: Numbers;
  multiply: Numbers;
  get_time: { readonly place: string };
  paint: { readonly thing: string; readonly colour: string };
}

const word = { type: "string", maxLength: 40 };
const object = (properties: Record<string, object>) => ({ type: "object", properties, required: Object.keys(properties) });
const numbers = object({ a: { type: "number" }, b: { type: "number" } });

/**
 * Results are sentences: a model as small as the one here has no way with numbers and leaves them as they are.
 * @param paint gives the page a colour, by its name
 */
export function pageTools(paint: (colour: string) => void): { readonly [Name in keyof Arguments]: Tool<Arguments[Name]> } {
  return {
    add: { description: "Add two numbers", parameters: numbers, run: ({ a, b }) => `The sum is ${a + b}.` },
    multiply: { description: "Multiply two numbers", parameters: numbers, run: ({ a, b }) => `The product is ${a * b}.` },
    get_time: {
      description: "Get the time at a place",
      parameters: object({ place: word }),
      // The hour as a clock on a wall shows it, in this browser's time zone whatever the place.
      run: ({ place }) => `It is ${new Date().getHours() % 12 || 12} o'clock at the ${place}.`,
    },
    paint: {
      description: "Paint a thing in a colour",
      parameters: object({ thing: word, colour: word }),
      run: ({ thing, colour }) => {
        paint(colour);
        return `The ${thing} is ${colour} now.`;
      },
    },
  };
}
