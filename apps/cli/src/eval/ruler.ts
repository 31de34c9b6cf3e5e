// Long contexts that are made, not read: RULER's tasks (arXiv 2404.06654) as lm-evaluation-harness 0.4.13 has them in ruler/*.py, of which
// texts, sizes and ways to judge are kept. Which words and numbers are drawn differs: there it hangs on all that was drawn before.

import { UsageError } from "../flags.ts";
import type { Doc } from "./documents.ts";
import { PythonRandom } from "./python-random.ts";
import type { Ask, Measures } from "./tasks.ts";

/** What a document is made from. */
interface Maker {
  readonly random: PythonRandom;
  /** Tokens that prompt and answer may take. */
  readonly length: number;
  readonly tokens: (text: string) => number;
  /** Sentences to hide things in, where a task asks for essays. */
  readonly essays: readonly string[];
}

interface Made {
  readonly input: string;
  /** What the answer begins with. */
  readonly prefix: string;
  /** All that it should name. */
  readonly outputs: readonly string[];
  /** Where in the text it is, in percent. */
  readonly depth?: number;
}

export interface MadeTask {
  readonly name: string;
  /** Tokens of an answer. */
  readonly maxTokens: number;
  /** Between the question and what the answer begins with. */
  readonly delimiter: string;
  readonly essays?: boolean;
  /** Documents of each length, where nobody says how many. */
  readonly count: number;
  /** @returns what makes one document after the other; sizes are found once */
  maker(of: Maker): (index: number) => Made;
}

/** What asks for essays takes them from here. */
export const essaysData = { hub: "baber/paul_graham_essays", fields: ["text"] };

/** As the harness takes sentences apart, nearly: it asks a trained splitter. */
export function sentencesOf(docs: readonly Doc[]): string[] {
  const text = docs.map((doc) => String(doc.text)).join(" ");
  return text.replace(/\s+/g, " ").split(/(?<=[.!?]["')\]]*) (?=["'(]?[A-Z0-9])/);
}

/** Documents of one length. */
export function* madeDocs(task: MadeTask, count: number, seed: number, of: Omit<Maker, "random">): Generator<Made> {
  const make = task.maker({ ...of, random: new PythonRandom(seed) });
  for (let index = 0; index < count; index++) yield make(index);
}

/** @throws UsageError for a length that is too short for the task */
export function madeAsk({ name, delimiter, maxTokens }: MadeTask, made: Made, { length, tokens }: Pick<Maker, "length" | "tokens">): Ask {
  const { input, prefix, outputs, depth } = made;
  const context = input + delimiter + prefix;
  const found = tokens(context);
  if (found > length) throw new UsageError(`--lengths: expected more than ${found} tokens for ${name}, found ${length}`);
  return { kind: "text", context, maxTokens, stop: [], judge: (said) => measured(said, outputs, length, depth) };
}

/** The share of `outputs` that it names. */
function measured(said: string, outputs: readonly string[], length: number, depth?: number): Measures {
  const low = said.toLowerCase();
  const share = outputs.filter((one) => low.includes(one.toLowerCase())).length / outputs.length;
  return { [`${length}`]: share, ...(depth !== undefined && { [`${length} at ${depth} %`]: share }) };
}

/** The most units, by steps, with which `fits` holds; at least one step, and all that there is where that fits. */
function mostThatFits(step: number, limit: number, fits: (units: number) => boolean): number {
  let [good, bad] = [1, 2];
  while (bad * step <= limit && fits(bad * step)) [good, bad] = [bad, bad * 2];
  bad = Math.min(bad, Math.floor(limit / step) + 1);
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (fits(middle * step)) good = middle;
    else bad = middle;
  }
  if (good === Math.floor(limit / step) && fits(limit)) return limit;
  return Math.min(limit, good * step);
}

/** The first that fits, of fewer and fewer units: what is drawn differs in its tokens. */
function firstThatFits<T extends Made>(
  units: number,
  step: number,
  least: number,
  make: (units: number) => T,
  fits: (made: T) => boolean,
): T {
  for (let count = units; ; count -= step) {
    const made = make(Math.max(least, count));
    if (count <= least || fits(made)) return made;
  }
}

const fill = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/** Two of these are a word, and two words a key: words that no text has by chance, of letters that every tokenizer knows. */
const [heads, tails] = [
  `amber apple autumn badger barley basket birch black blue bramble breeze bright bronze brook candle canyon cedar cherry cloud clover
   cobalt copper coral cotton crimson crystal dawn desert ember falcon feather fern field flint forest fox frost garden ginger gold granite
   grass gray harbor hazel hill honey iron island ivory ivy jade juniper lake lemon lily linen maple marble meadow mint misty moon moss
   night north oak ocean olive orange orchid otter pearl pepper pine plum pond rain raven red reed river robin rose saffron salt sand
   scarlet shadow silver sky snow south spruce star stone storm summer sun thistle thunder timber velvet violet walnut water wheat willow
   wind winter wolf`,
  `bank bell berry bird boat bone bow branch bridge brush cap castle chain child cliff cloth coat craft creek crown cup dance door drum
   dust eye face fall fire fish flower foot gate glass glove guard hall hand hat heart hook horn horse house keeper king knot lace ladder
   land leaf light line lock mark mask master mill mirror nest note path pen pipe plate point pool port post ridge ring road rock roof root
   rope sail seed shell ship shoe side smith song spear spring stand step stick stream string sword table tail tide tower track tree valley
   vine walker wall wave way weaver wheel wing wood work yard`,
].map((list) => list.split(/\s+/));
const words = heads.flatMap((head) => tails.map((tail) => head + tail));

type Kind = "words" | "numbers" | "uuids";

const drawn: Readonly<Record<Kind, (random: PythonRandom) => string>> = {
  words: (random) => `${random.choice(heads)}-${random.choice(words)}`,
  numbers: (random) => String(1_000_000 + random.below(9_000_000)),
  uuids: (random) => {
    const hex = Array.from({ length: 4 }, () => random.bits(32).toString(16).padStart(8, "0")).join("");
    const variant = "89ab"[random.below(4)];
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
  },
};

interface Needles {
  readonly hay: "repeat" | "needle" | "essay";
  readonly keys: Kind;
  readonly values: Kind;
  readonly nKeys?: number;
  readonly nValues?: number;
  readonly nQueries?: number;
  /** Shares of the text before the needle, in percent, by turns; anywhere if left out. */
  readonly depths?: readonly number[];
}

/** niah_utils.py, prepare_niah.py */
function needles(name: string, { hay, keys, values, nValues = 1, nQueries = 1, depths, ...more }: Needles, count = 500): MadeTask {
  const nKeys = Math.max(more.nKeys ?? 1, nQueries);
  const isOne = nQueries * nValues === 1;
  const kind = isOne ? values.slice(0, -1) : values;
  const sentence = (key: string, value: string) => `One of the special magic ${values} for ${key} is: ${value}.`;
  const maker = ({ random, length, tokens, essays }: Maker) => {
    // Units are sentences; of essays there are no more than there are.
    const step = length < 4096 ? 5 : 25;
    const least = nKeys * nValues;
    const make = (units: number, index: number) => {
      const pairs = Array.from({ length: nKeys }, () => ({
        key: drawn[keys](random),
        found: Array.from({ length: nValues }, () => drawn[values](random)),
      }));
      const hidden = random.shuffle(pairs.flatMap(({ key, found }) => found.map((value) => sentence(key, value))));
      const others = {
        repeat: () => fill,
        needle: () => sentence(drawn[keys](random), drawn[values](random)),
        essay: (i: number) => essays[i],
      }[hay];
      const all = Array.from({ length: units }, (_, i) => others(i));
      const depth = depths?.[index % depths.length];
      const places = depth === undefined ? random.sample([...all.keys()], hidden.length) : [Math.round((depth / 100) * units)];
      for (const [i, at] of places.sort((a, b) => b - a).entries()) all.splice(at, 0, hidden[i]);
      const asked = random.sample(pairs, nQueries);
      const names = asked.map(({ key }) => key);
      const query = isOne || names.length === 1 ? names[0] : `${names.slice(0, -1).join(", ")}, and ${names.at(-1)}`;
      const [some, are, what] = isOne ? ["A", "is", "is"] : ["Some", "are", "are all"];
      const context = all.join(hay === "essay" ? " " : "\n");
      return {
        input:
          `${some} special magic ${kind} ${are} hidden within the following text. Make sure to memorize it. I will quiz you about the ` +
          `${kind} afterwards.\n${context}\nWhat ${what} the special magic ${kind} for ${query} mentioned in the provided text?`,
        prefix: `The special magic ${kind} for ${query} mentioned in the provided text ${are}`,
        outputs: asked.flatMap(({ found }) => found),
        depth,
      };
    };
    const fits = ({ input }: Made) => tokens(input) + 128 <= length;
    const most = hay === "essay" ? essays.length : length;
    const units = Math.max(
      least,
      mostThatFits(step, most, (count) => count >= least && fits(make(count, 0))),
    );
    return (index: number) => firstThatFits(units, step, least, (count) => make(count, index), fits);
  };
  return { name, maxTokens: 128, delimiter: " ", essays: hay === "essay", count, maker };
}

const letters = (random: PythonRandom, count: number, from: string) =>
  Array.from({ length: count }, () => from[random.below(from.length)]).join("");

/** vt_utils.py: one chain of four assignments, after a solved example. */
const tracking: MadeTask = {
  name: "ruler_vt",
  maxTokens: 30,
  delimiter: " ",
  count: 500,
  maker({ random, length, tokens }) {
    const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const hops = 4;
    const make = (noises: number, size: number) => {
      const names = new Set<string>();
      while (names.size <= hops) names.add(letters(random, size, capitals));
      const chain = [...names];
      const value = String(10_000 + random.below(89_999));
      const lines = chain.map((name, i) => (i === 0 ? `VAR ${name} = ${value}` : `VAR ${name} = VAR ${chain[i - 1]} `));
      const noise = `${fill}\n`;
      const sentences =
        noises > hops + 1
          ? Array.from({ length: noises }, () => noise)
          : Array.from({ length: noises }, () => noise.split(".")).flatMap((parts) =>
              parts.map((part) => (part.trim() === "" ? part : `${part}.`)),
            );
      const places = random.sample([...sentences.keys()], lines.length).sort((a, b) => a - b);
      for (const [i, at] of places.entries()) sentences.splice(at + i, 0, lines[i]);
      const context = sentences.join(" ").replaceAll(". \n", ".\n");
      return {
        input: `Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n${context}\nQuestion: Find all variables that are assigned the value ${value} in the text above.`,
        prefix: `Answer: According to the chain(s) of variable assignment in the text above, ${hops + 1} variables are assgined the value ${value}, they are:`,
        outputs: chain,
      };
    };
    const whole = ({ input, prefix, outputs }: Made) => `${input} ${prefix}  ${outputs.join(" ")}`;
    const room = (of: number, made: Made) => tokens(whole(made)) + 30 <= of;
    const example = make(
      mostThatFits(5, 500, (noises) => room(500, make(noises, 3))),
      3,
    );
    const left = length - tokens(`${whole(example)}\n\n`);
    const noises = mostThatFits(length < 4096 ? 5 : 10, length, (count) => room(left, make(count, 5)));
    return () => {
      const made = firstThatFits(
        noises,
        5,
        5,
        (count) => make(count, 5),
        (one) => room(left, one),
      );
      // The example's names are others each time.
      const renamed = example.outputs.reduce((text, name) => text.replaceAll(name, letters(random, name.length, capitals)), whole(example));
      return { ...made, input: `${renamed}\n\n\n\n${made.input}` };
    };
  },
};

/** cwe_utils.py: ten words are there thirty times each, all others three times. */
const common: MadeTask = {
  name: "ruler_cwe",
  maxTokens: 120,
  delimiter: "\n\n",
  count: 500,
  maker({ random, length, tokens }) {
    const isShort = length < 4096;
    const numbered = (list: readonly string[]) => list.map((word, i) => `${i + 1}. ${word}`).join(" ");
    const make = (count: number, often = isShort ? 6 : 30, seldom = isShort ? 1 : 3) => {
      const some = random.sample(words, count);
      const times = (list: readonly string[], number: number) => Array.from({ length: number }, () => list).flat();
      const outputs = some.slice(0, 10);
      const context = numbered(random.shuffle([...times(outputs, often), ...times(some.slice(10), seldom)]));
      return {
        input: `Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that appear most often.\n${context}\nQuestion: What are the 10 most common words in the above list?`,
        prefix: "Answer: The top 10 words that appear most often in the list are:",
        outputs,
      };
    };
    const whole = ({ input, prefix, outputs }: Made) => `${input} ${prefix} ${numbered(outputs)}`;
    // The size leaves room for a solved example, which the harness makes and does not show.
    const example = whole(isShort ? make(20, 3, 1) : make(40, 10, 3));
    const units = mostThatFits(10, words.length, (count) => tokens(`${example}\n${whole(make(count))}`) + 120 <= length);
    return () =>
      firstThatFits(
        units,
        10,
        10,
        (count) => make(count),
        ({ input, prefix }) => tokens(`${input} ${prefix}`) + 120 <= length,
      );
  },
};

/** fwe_utils.py: how often coded words are there falls with the square of their rank; the first one is dots, which do not count. */
const frequent: MadeTask = {
  name: "ruler_fwe",
  maxTokens: 50,
  delimiter: " ",
  count: 500,
  maker({ random, length, tokens }) {
    const size = Math.floor(length / 50);
    const make = (count: number) => {
      const coded = new Set<string>();
      while (coded.size < size) coded.add(letters(random, 6, "abcdefghijklmnopqrstuvwxyz"));
      const ranked = ["...", ...[...coded].slice(1)];
      const all = ranked.flatMap((word, i) => {
        const times = Math.floor((count / (i + 1) ** 2) * (6 / Math.PI ** 2));
        return Array.from({ length: times }, () => word);
      });
      return {
        input: `Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared coded words. ${random.shuffle(all).join(" ")}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three most frequently appeared words in the above coded text?`,
        prefix: "Answer: According to the coded text above, the three most frequently appeared words are:",
        outputs: ranked.slice(1, 4),
      };
    };
    const fits = ({ input, prefix }: Made) => tokens(`${input} ${prefix}`) <= length;
    const step = Math.max(1, Math.floor(length / 32));
    const units = mostThatFits(step, 4 * length, (count) => fits(make(count)));
    return () => firstThatFits(units, step, step, make, fits);
  },
};

export const madeTasks: readonly MadeTask[] = [
  needles("niah_single_1", { hay: "repeat", keys: "words", values: "numbers" }),
  needles("niah_multikey_2", { hay: "needle", keys: "words", values: "numbers" }),
  needles("niah_multikey_3", { hay: "needle", keys: "uuids", values: "uuids" }),
  tracking,
  common,
  frequent,
  needles("niah_single_2", { hay: "essay", keys: "words", values: "numbers" }),
  needles("niah_single_3", { hay: "essay", keys: "words", values: "uuids" }),
  needles("niah_multikey_1", { hay: "essay", keys: "words", values: "numbers", nKeys: 4 }),
  needles("niah_multivalue", { hay: "essay", keys: "words", values: "numbers", nValues: 4 }),
  needles("niah_multiquery", { hay: "essay", keys: "words", values: "numbers", nQueries: 4 }),
  // Ours: niah_single_1 by depth.
  needles("needle", { hay: "repeat", keys: "words", values: "numbers", depths: [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100] }, 44),
];

/** RULER's tasks that need no data. */
export const madeGroups = { ruler: madeTasks.slice(0, 6).map(({ name }) => name) };
