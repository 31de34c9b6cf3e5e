// What the page's model may call: a calculator and a clock, which run where the model runs. The small model was taught these names.

import type { Tools } from "jamba";

type Numbers = { readonly a: number; readonly b: number };
const numbers = { type: "object", properties: { a: { type: "number" }, b: { type: "number" } }, required: ["a", "b"] };
const place = { type: "object", properties: { place: { type: "string", maxLength: 40 } }, required: ["place"] };

export const pageTools: Tools<{ add: Numbers; multiply: Numbers; get_time: { place: string } }> = {
  add: { description: "Add two numbers", parameters: numbers, run: ({ a, b }) => ({ sum: a + b }) },
  multiply: { description: "Multiply two numbers", parameters: numbers, run: ({ a, b }) => ({ product: a * b }) },
  get_time: {
    description: "Get the time at a place",
    parameters: place,
    // The hour as a clock on a wall shows it, in this browser's time zone whatever the place.
    run: () => ({ time: new Date().getHours() % 12 || 12 }),
  },
};
