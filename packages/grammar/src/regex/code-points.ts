// Sets of characters as ranges of code points, in order, without overlaps and without surrogates: no text that is encoded holds those.

export type Range = readonly [from: number, to: number];
export type Ranges = readonly Range[];

export const lastCodePoint = 0x10ffff;
const firstSurrogate = 0xd800;
const lastSurrogate = 0xdfff;

export const everything: Ranges = normal([[0, lastCodePoint]]);
export const digits: Ranges = [[0x30, 0x39]];
export const words: Ranges = [...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
/** JavaScript's `\s`: white space and line ends, 25 characters. */
export const spaces: Ranges = [
  [9, 13],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
/** What JavaScript's `.` leaves out. */
export const lineEnds: Ranges = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
];

/** In order, without overlaps and surrogates. */
export function normal(ranges: Iterable<Range>): Ranges {
  const out: [number, number][] = [];
  for (const [from, to] of [...ranges].flatMap(withoutSurrogates).sort((a, b) => a[0] - b[0])) {
    const before = out.at(-1);
    if (before && from <= before[1] + 1) before[1] = Math.max(before[1], to);
    else out.push([from, to]);
  }
  return out;
}

function withoutSurrogates([from, to]: Range): Range[] {
  const parts: Range[] = [
    [from, Math.min(to, firstSurrogate - 1)],
    [Math.max(from, lastSurrogate + 1), to],
  ];
  return parts.filter(([a, b]) => a <= b);
}

export function invert(ranges: Ranges): Ranges {
  const out: Range[] = [];
  let next = 0;
  for (const [from, to] of ranges) {
    if (from > next) out.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= lastCodePoint) out.push([next, lastCodePoint]);
  return normal(out);
}

export function overlap(a: Ranges, b: Ranges): Ranges {
  const out: Range[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [from, to] = [Math.max(a[i][0], b[j][0]), Math.min(a[i][1], b[j][1])];
    if (from <= to) out.push([from, to]);
    if (a[i][1] < b[j][1]) i++;
    else j++;
  }
  return out;
}

export function contains(ranges: Ranges, code: number): boolean {
  return ranges.some(([from, to]) => from <= code && code <= to);
}

export function countOf(ranges: Ranges): number {
  return ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0);
}
