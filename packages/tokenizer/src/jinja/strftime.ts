// Dates as Python's strftime writes them where no language is set.

const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const months = [
  ...["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"],
];

/** In local time. What it does not know stays as it is. */
export function strftime(date: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const dayOfYear = () =>
    Math.round((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 0)) / 864e5);
  const [day, month, weekday, hours] = [date.getDate(), date.getMonth(), date.getDay(), date.getHours()];
  const parts: Readonly<Record<string, () => string>> = {
    Y: () => String(date.getFullYear()),
    y: () => two(date.getFullYear() % 100),
    m: () => two(month + 1),
    d: () => two(day),
    e: () => String(day).padStart(2),
    j: () => String(dayOfYear()).padStart(3, "0"),
    H: () => two(hours),
    I: () => two(hours % 12 || 12),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    f: () => String(date.getMilliseconds() * 1000).padStart(6, "0"),
    p: () => (hours < 12 ? "AM" : "PM"),
    A: () => days[weekday],
    a: () => days[weekday].slice(0, 3),
    B: () => months[month],
    b: () => months[month].slice(0, 3),
    h: () => months[month].slice(0, 3),
    w: () => String(weekday),
    u: () => String(weekday || 7),
    z: () => "",
    Z: () => "",
    s: () => String(Math.floor(date.getTime() / 1000)),
    n: () => "\n",
    t: () => "\t",
    "%": () => "%",
    F: () => strftime(date, "%Y-%m-%d"),
    T: () => strftime(date, "%H:%M:%S"),
    R: () => strftime(date, "%H:%M"),
    D: () => strftime(date, "%m/%d/%y"),
    x: () => strftime(date, "%m/%d/%y"),
    X: () => strftime(date, "%H:%M:%S"),
    c: () => strftime(date, "%a %b %e %H:%M:%S %Y"),
  };
  return format.replace(/%(-?)(.)/gsu, (whole, bare: string, name: string) => {
    if (!Object.hasOwn(parts, name)) return whole;
    return bare ? parts[name]().replace(/^[0 ]+(?=.)/, "") : parts[name]();
  });
}
