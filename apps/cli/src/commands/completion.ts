// Scripts with which a shell completes command lines, made from the table of commands and flags.

import type { Command, Commands } from "../cli.ts";
import { commonFlags, type Flag, UsageError } from "../flags.ts";
import { choicesOf } from "../help.ts";

/** @param all gives the table that this command is itself a part of */
export function completion(all: () => Commands): Command {
  return {
    words: "bash|zsh|fish",
    summary: "a script that completes command lines",
    about: `bash   source <(jamba completion bash)           in ~/.bashrc
zsh    source <(jamba completion zsh)            in ~/.zshrc
fish   jamba completion fish | source            in ~/.config/fish/config.fish`,
    choices: () => Object.keys(shells),
    flags: commonFlags,
    async run({ flags, words }, { stdout }) {
      const [shell] = words;
      if (words.length !== 1 || !Object.hasOwn(shells, shell))
        throw new UsageError(`completion: expected bash, zsh or fish, found ${words.join(" ") || "none"}`);
      const script = shells[shell](all());
      stdout.write(flags.json ? `${JSON.stringify({ shell, script })}\n` : script);
      return 0;
    },
  };
}

const shells: Readonly<Record<string, (commands: Commands) => string>> = { bash, zsh, fish };

type Takes = "nothing" | "file" | "folder" | "text" | readonly string[];

function takes({ type, value = "" }: Flag): Takes {
  if (type === "boolean") return "nothing";
  const choices = choicesOf(value);
  if (choices.length > 0) return choices;
  return value.includes("FILE") ? "file" : value === "DIR" ? "folder" : "text";
}

/** A flag as it is typed, long form first. */
const spellings = (name: string, { short }: Flag) => [`--${name}`, ...(short ? [`-${short}`] : [])];

function bash(commands: Commands): string {
  const cases = Object.entries(commands).flatMap(([command, { flags }]) =>
    Object.entries(flags).flatMap(([name, flag]) => {
      const given = takes(flag);
      const reply =
        given === "file"
          ? "compgen -f"
          : given === "folder"
            ? "compgen -d"
            : given === "text"
              ? ":"
              : `compgen -W "${[given].flat().join(" ")}"`;
      const when = spellings(name, flag)
        .map((one) => `${command}:${one}`)
        .join("|");
      return given === "nothing" ? [] : [`    ${when}) _jamba_reply "$cur" ${reply}; return ;;`];
    }),
  );
  const words = Object.entries(commands).map(
    ([command, { flags, choices }]) =>
      `    ${command}) all="${Object.keys(flags)
        .map((name) => `--${name}`)
        .join(" ")}"${choices ? ` words="${choices().join(" ")}"` : ""} ;;`,
  );
  return `# bash completion for jamba
_jamba_reply() {
  local cur=$1 one; shift
  [ "$1" = : ] || while IFS= read -r one; do COMPREPLY+=("$one"); done < <("$@" -- "$cur")
}
_jamba() {
  local cur=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]} all= words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    _jamba_reply "$cur" compgen -W "${Object.keys(commands).join(" ")} --help --version"
    return
  fi
  case $command:$before in
${cases.join("\n")}
  esac
  case $command in
${words.join("\n")}
  esac
  case $cur in
    -*) _jamba_reply "$cur" compgen -W "$all" ;;
    *) if [ -n "$words" ]; then _jamba_reply "$cur" compgen -W "$words"; else _jamba_reply "$cur" compgen -f; fi ;;
  esac
}
complete -o filenames -F _jamba jamba
`;
}

function zsh(commands: Commands): string {
  const quoted = (text: string) => text.replaceAll("'", "’").replaceAll(/[[\]:]/g, "\\$&");
  const action = (given: Takes) =>
    given === "nothing"
      ? ""
      : given === "file"
        ? ":file:_files"
        : given === "folder"
          ? ":folder:_files -/"
          : given === "text"
            ? ":value:"
            : `:value:(${given.join(" ")})`;
  const spec = ([name, flag]: [string, Flag]) =>
    spellings(name, flag)
      .map((one) => `      '${flag.multiple ? "*" : ""}${one}[${quoted(flag.help)}]${action(takes(flag))}'`)
      .join(" \\\n");
  const cases = Object.entries(commands).map(
    ([command, { flags, choices }]) =>
      `    ${command}) _arguments -s \\\n${Object.entries(flags).map(spec).join(" \\\n")} \\\n      '*:${choices ? `word:(${choices().join(" ")})` : "model or text:_files"}' ;;`,
  );
  return `#compdef jamba
_jamba() {
  local -a commands
  commands=(
${Object.entries(commands)
  .map(([name, { summary }]) => `    '${name}:${quoted(summary)}'`)
  .join("\n")}
  )
  if (( CURRENT == 2 )); then _describe command commands; return; fi
  local command=$words[2]
  shift words; (( CURRENT-- ))
  case $command in
${cases.join("\n")}
  esac
}
compdef _jamba jamba
`;
}

function fish(commands: Commands): string {
  const quoted = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = Object.entries(commands).flatMap(([command, { summary, flags, choices }]) => [
    `complete -c jamba -n __fish_use_subcommand -f -a ${command} -d ${quoted(summary)}`,
    ...(choices ? [`complete -c jamba -n '__fish_seen_subcommand_from ${command}' -f -a ${quoted(choices().join(" "))}`] : []),
    ...Object.entries(flags).map(([name, flag]) => {
      const given = takes(flag);
      const values =
        given === "nothing"
          ? ""
          : given === "file" || given === "folder"
            ? " -r"
            : given === "text"
              ? " -x"
              : ` -x -a ${quoted(given.join(" "))}`;
      return `complete -c jamba -n '__fish_seen_subcommand_from ${command}' -l ${name}${flag.short ? ` -s ${flag.short}` : ""}${values} -d ${quoted(flag.help)}`;
    }),
  ]);
  return `# fish completion for jamba\n${lines.join("\n")}\n`;
}
