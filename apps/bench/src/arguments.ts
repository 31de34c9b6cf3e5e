// Values of flags.

/** @throws Error for what is no positive integer */
export function count(flag: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`${flag}: expected a positive integer, found ${JSON.stringify(text)}`);
  return number;
}
