// Answers of about 300 tokens that applications ask for, from much structure to much text.

export interface Answer {
  readonly name: string;
  readonly schema: unknown;
  readonly value: unknown;
}

const string = { type: "string" };
const object = (properties: Readonly<Record<string, unknown>>) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
const array = (items: unknown) => ({ type: "array", items });
const choice = (...values: string[]) => ({ type: "string", enum: values });

const item = object({
  product_name: string,
  quantity: { type: "integer", minimum: 1, maximum: 500 },
  unit_price: { type: "number", minimum: 0 },
  availability: choice("in_stock", "out_of_stock", "preorder"),
});

const order: Answer = {
  name: "an order of 5 items",
  schema: object({
    order_number: { type: "string", pattern: "^[A-Z]{2}-[0-9]{6}$" },
    customer: object({ full_name: string, email_address: { type: "string", format: "email" }, is_business: { type: "boolean" } }),
    ordered_at: { type: "string", format: "date-time" },
    line_items: array(item),
    payment_method: choice("credit_card", "bank_transfer", "cash_on_delivery"),
    total_amount: { type: "number", minimum: 0 },
  }),
  value: {
    order_number: "DE-204817",
    customer: { full_name: "Mia Lindqvist", email_address: "mia.lindqvist@example.com", is_business: false },
    ordered_at: "2024-02-29T12:30:00Z",
    line_items: [
      { product_name: "Desk lamp", quantity: 2, unit_price: 34.5, availability: "in_stock" },
      { product_name: "Office chair, black", quantity: 1, unit_price: 219.99, availability: "preorder" },
      { product_name: "Monitor arm", quantity: 2, unit_price: 79, availability: "in_stock" },
      { product_name: "Cable tray", quantity: 4, unit_price: 12.25, availability: "out_of_stock" },
      { product_name: "Standing mat", quantity: 1, unit_price: 49.9, availability: "in_stock" },
    ],
    payment_method: "bank_transfer",
    total_amount: 545.89,
  },
};

const review: Answer = {
  name: "a review with long texts",
  schema: object({
    overall_sentiment: choice("positive", "neutral", "negative"),
    confidence: { type: "number", minimum: 0, maximum: 1 },
    summary: string,
    findings: array(object({ aspect: string, sentiment: choice("positive", "neutral", "negative"), supporting_quote: string })),
    recommended_action: string,
    needs_follow_up: { type: "boolean" },
  }),
  value: {
    overall_sentiment: "negative",
    confidence: 0.86,
    summary:
      "The customer likes the sound of the headphones and the way they fold, but the left side stopped working after three weeks, and the support asked twice for the same receipt.",
    findings: [
      { aspect: "sound", sentiment: "positive", supporting_quote: "I have not heard bass like this from a pair at that price." },
      { aspect: "durability", sentiment: "negative", supporting_quote: "After three weeks the left side went silent and never came back." },
      {
        aspect: "support",
        sentiment: "negative",
        supporting_quote: "They asked me for the receipt two times, although it was in my first mail.",
      },
      { aspect: "comfort", sentiment: "neutral", supporting_quote: "They sit well for an hour or so, after that my ears get warm." },
      { aspect: "delivery", sentiment: "positive", supporting_quote: "It was here the next morning, which I did not expect at all." },
    ],
    recommended_action:
      "Send a replacement without asking for the receipt again, and tell the customer when it will arrive; offer the longer warranty, since this model has been returned for the same reason before.",
    needs_follow_up: true,
  },
};

export const answers: readonly Answer[] = [order, review];
