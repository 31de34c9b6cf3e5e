// Numbers for people, in their own language.

const whole = new Intl.NumberFormat();

export function count(n: number): string {
  return whole.format(n);
}

/** Decimal units, as disks and downloads are counted. */
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [n, 0];
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${value.toLocaleString(undefined, { maximumFractionDigits: value < 10 && unit > 0 ? 1 : 0 })} ${units[unit]}`;
}

export function seconds(n: number): string {
  if (n < 60) return `${Math.max(1, Math.round(n))} s`;
  return n < 3600 ? `${Math.round(n / 60)} min` : `${(n / 3600).toFixed(1)} h`;
}
