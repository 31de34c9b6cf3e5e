// Formats as patterns in Rust's syntax, each the same as ajv-formats' or narrower: what one line of it in prose says, in the order of use.

const year = "[0-9]{4}";
const leapYear = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
/** 29 February in leap years only. */
const date = `(?:${year}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|${leapYear}-02-29)`;
/** No leap seconds, which are valid at a few instants only. */
const clock = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?";
const zone = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
const byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const ipv4 = `${byte}(?:\\.${byte}){3}`;
const hex = "[0-9A-Fa-f]";
const group = `${hex}{1,4}`;
/** Written in full, or with one `::`; without a dotted end. */
const ipv6 = `(?:${[
  `(?:${group}:){7}${group}`,
  `(?:${group}:){1,7}:`,
  ...[1, 2, 3, 4, 5, 6].map((after) => `(?:${group}:){1,${7 - after}}(?::${group}){1,${after}}`),
  `:(?:(?::${group}){1,7}|:)`,
].join("|")})`;
/** Without two hyphens together, which only names in other scripts have. */
const label = "[A-Za-z0-9](?:-?[A-Za-z0-9]){0,31}";
const shortLabel = "[A-Za-z0-9](?:-?[A-Za-z0-9]){0,15}";
/** At most 3 labels of 63 characters or 7 of 31, so that 253 in all are not exceeded. */
const hostname = `(?:${label}(?:\\.${label}){0,2}|${shortLabel}(?:\\.${shortLabel}){0,6})`;
const localPart = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const email = `${localPart}(?:\\.${localPart})*@(?:${label}\\.)+${label}`;
const escaped = `%${hex}{2}`;
const pathChar = `(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|${escaped})`;
const authority = `(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|${escaped})*@)?(?:\\[${ipv6}\\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|${escaped})*)(?::[0-9]*)?`;
const hierarchy = `(?://${authority}(?:/${pathChar}*)*|/(?:${pathChar}+(?:/${pathChar}*)*)?|${pathChar}+(?:/${pathChar}*)*)`;
const tail = `(?:\\?(?:${pathChar}|[/?])*)?(?:#(?:${pathChar}|[/?])*)?`;
/** Something follows the scheme. */
const uri = `[A-Za-z][A-Za-z0-9+.-]*:${hierarchy}${tail}`;
/** No colon before the first slash of a relative one, where it would end a scheme. */
const relative = `(?://${authority}(?:/${pathChar}*)*|/(?:${pathChar}+(?:/${pathChar}*)*)?|(?:[A-Za-z0-9._~!$&'()*+,;=@-]|${escaped})+(?:/${pathChar}*)*)?${tail}`;
const webHost = `(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\\.)+[A-Za-z]{2,20}`;
const pointer = "(?:/(?:[^~/]|~[01])*)*";
const digits = "[0-9]{1,4}";
/** Without gaps: no days after years without months. */
const someTime = `T(?:${digits}H(?:${digits}M(?:${digits}S)?)?|${digits}M(?:${digits}S)?|${digits}S)`;
const someDay = `(?:${digits}Y(?:${digits}M(?:${digits}D)?)?|${digits}M(?:${digits}D)?|${digits}D)`;

/** With the version that it names, as RFC 9562 says it. */
const uuidOf = (version: number) => `${hex}{8}-${hex}{4}-${version}${hex}{3}-[89ABab]${hex}{3}-${hex}{12}`;
/** In whole groups of four characters, with "=" for what is missing: what Python's decoders take. */
const base64Of = (char: string) => `(?:${char}{4})*(?:${char}{2}==|${char}{3}=)?`;
const upTo128 = "(?:[0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])";

/** Addresses whose bits behind the prefix are 0, with the prefix; without one it is 32. */
function ipv4Networks(): string {
  const byLength = Array.from({ length: 32 }, (_, bits) => {
    const [whole, rest] = [Math.floor(bits / 8), bits % 8];
    const step = 2 ** (8 - rest);
    const partial = Array.from({ length: 2 ** rest }, (_, i) => i * step).join("|");
    return `${`${byte}\\.`.repeat(whole)}(?:${partial})${"\\.0".repeat(3 - whole)}/${bits}`;
  });
  return `(?:${[...byLength, `${ipv4}(?:/32)?`].join("|")})`;
}

/** The same, with prefixes of whole groups and 128 alone. */
const ipv6Networks = `(?:${[
  "::/0",
  ...[1, 2, 3, 4, 5, 6, 7].map((groups) => `${`${group}:`.repeat(groups)}:/${16 * groups}`),
  `${ipv6}(?:/128)?`,
].join("|")})`;

/** Empty where a format admits every string. */
export const knownFormats: ReadonlyMap<string, string> = new Map(
  Object.entries({
    "date-time": `${date}[Tt]${clock}${zone}`,
    date,
    time: `${clock}${zone}`,
    duration: `P(?:${someDay}(?:${someTime})?|${someTime}|[0-9]{1,4}W)`,
    email,
    "idn-email": email,
    hostname,
    "host-name": hostname,
    "idn-hostname": hostname,
    ipv4,
    "ip-address": ipv4,
    ipv6,
    uri,
    iri: uri,
    "uri-reference": `(?:${uri}|${relative})`,
    "iri-reference": `(?:${uri}|${relative})`,
    url: `(?:https?|ftp)://${webHost}(?::[0-9]{2,5})?(?:/(?:${pathChar}|[/?#])*)?`,
    uuid: `${hex}{8}-(?:${hex}{4}-){3}${hex}{12}`,
    "json-pointer": pointer,
    "relative-json-pointer": `(?:0|[1-9][0-9]*)(?:#|${pointer})`,
    "json-pointer-uri-fragment": `#(?:/(?:[A-Za-z0-9_.!$&'()*+,;:=@-]|${escaped}|~[01])*)*`,
    "uri-template": `(?:[A-Za-z0-9._~!$&()*+,;=:@/?#-]|${escaped}|\\{[A-Za-z0-9_]+\\})*`,
    "iso-time": `${clock}${zone}?`,
    "iso-date-time": `${date}[Tt ]${clock}${zone}?`,
    byte: base64Of("[A-Za-z0-9+/]"),
    /** Those without anything that a pattern could get wrong. */
    regex: "\\^?[A-Za-z0-9_ -]*\\$?",
    password: "",
    binary: "",
    // pydantic's
    ...Object.fromEntries([1, 3, 4, 5, 6, 7, 8].map((version) => [`uuid${version}`, uuidOf(version)])),
    base64: base64Of("[A-Za-z0-9+/]"),
    base64url: base64Of("[A-Za-z0-9_-]"),
    ipv4network: ipv4Networks(),
    ipv4interface: `${ipv4}(?:/(?:[12]?[0-9]|3[0-2]))?`,
    ipv6network: ipv6Networks,
    ipv6interface: `${ipv6}(?:/${upTo128})?`,
    path: "",
  }),
);

/** Formats of numbers, with what they are at least and at most; none where they admit every number. */
export const numericFormats: ReadonlyMap<string, readonly number[]> = new Map([
  ["int32", [-(2 ** 31), 2 ** 31 - 1]],
  ["int64", [-(2 ** 53 - 1), 2 ** 53 - 1]],
  ["int8", [-128, 127]],
  ["int16", [-32768, 32767]],
  ["uint8", [0, 255]],
  ["uint16", [0, 65535]],
  ["uint32", [0, 2 ** 32 - 1]],
  ["uint64", [0, 2 ** 53 - 1]],
  ["float", []],
  ["double", []],
]);
