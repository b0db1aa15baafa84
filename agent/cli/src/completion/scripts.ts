import type { Level, Word } from './tree.ts';

/** Every script walks the words so far as long as they name a command, and offers what may follow there; else files. */
const below = (levels: readonly Level[]): string[] => levels.slice(1).map(({ path }) => path);
const words = (all: readonly Word[]): string => all.map(({ word }) => word).join(' ');
/** Within single quotes of bash and zsh. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const alternatives = (paths: readonly string[]): string => paths.map((path) => `"${path}"`).join('|');

export function bash(levels: readonly Level[]): string {
  const cases = levels.map(
    ({ path, commands, options }) => `    "${path}") commands=${quoted(words(commands))}; options=${quoted(words(options))} ;;`,
  );
  return `# bash completion of culvert
_culvert() {
  local current=\${COMP_WORDS[COMP_CWORD]} path=culvert commands= options= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path \${COMP_WORDS[i]}" in
      ${alternatives(below(levels))}) path="$path \${COMP_WORDS[i]}" ;;
    esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$current"))
  else COMPREPLY=($(compgen -W "$commands" -- "$current")); fi
}
complete -o default -F _culvert culvert
`;
}

export function zsh(levels: readonly Level[]): string {
  const described = (all: readonly Word[]): string =>
    all.map(({ word, what }) => quoted(`${word.replaceAll(':', '\\:')}${what === '' ? '' : `:${what}`}`)).join(' ');
  const cases = levels.map(
    ({ path, commands, options }) => `    "${path}") commands=(${described(commands)}); options=(${described(options)}) ;;`,
  );
  return `#compdef culvert
# zsh completion of culvert
_culvert() {
  local path_=culvert word
  local -a commands options
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$path_ $word" in
      ${alternatives(below(levels))}) path_="$path_ $word" ;;
    esac
  done
  case "$path_" in
${cases.join('\n')}
  esac
  if [[ $PREFIX == -* ]]; then _describe -o option options
  elif (( \${#commands} )); then _describe command commands
  else _files; fi
}
if [[ $funcstack[1] == _culvert ]]; then _culvert "$@"; else compdef _culvert culvert; fi
`;
}

export function fish(levels: readonly Level[]): string {
  const text = (what: string): string => `'${what.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = levels.flatMap(({ path, commands, options }) => {
    const here = `-n '__culvert_at "${path}"'`;
    return [
      ...commands.map(({ word, what }) => `complete -c culvert ${here} -f -a ${word} -d ${text(what)}`),
      ...options.map(({ word, what }) => `complete -c culvert ${here} -l ${word.slice(2)} -d ${text(what)}`),
    ];
  });
  return `# fish completion of culvert
function __culvert_at
  set -l path culvert
  for word in (commandline -opc)[2..-1]
    switch "$path $word"
      case ${below(levels)
        .map((path) => `'${path}'`)
        .join(' ')}
        set path "$path $word"
    end
  end
  test "$path" = "$argv[1]"
end
${lines.join('\n')}
`;
}
