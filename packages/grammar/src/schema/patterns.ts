// Whether a JavaScript pattern is found in a short text, tried only where that can't take long: patterns and texts are not trusted.

/** Steps that all trials of one schema may take together; a step is some nanoseconds. */
const maxSteps = 5_000_000;

export class Trials {
  #left = maxSteps;
  readonly #known = new Map<string, RegExp | undefined>();

  /** @returns undefined where the pattern is wrong, or may take too many steps */
  matches(source: string, text: string): boolean | undefined {
    const steps = stepsOf(source, text.length);
    if (steps > this.#left) return undefined;
    const pattern = this.#compiled(source);
    if (pattern === undefined) return undefined;
    this.#left -= steps;
    return pattern.test(text);
  }

  #compiled(source: string): RegExp | undefined {
    if (!this.#known.has(source)) this.#known.set(source, compile(source));
    return this.#known.get(source);
  }
}

function compile(source: string): RegExp | undefined {
  try {
    return new RegExp(source, "u");
  } catch {
    return undefined;
  }
}

/** At most, for a matcher that goes back: each quantifier may end anywhere; one around another doubles the ways with each character. */
function stepsOf(source: string, length: number): number {
  const isNested = /\)[*+{]/.test(source) || /\\[1-9k]/.test(source);
  if (isNested) return length > 40 ? Infinity : source.length * 2 ** Math.min(length, 40);
  const quantifiers = source.match(/[*+?{]/g)?.length ?? 0;
  return source.length * (length + 1) ** Math.min(quantifiers + 1, 12);
}
