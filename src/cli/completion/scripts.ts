/** The shells there is a script for. */
export const SHELLS = ['bash', 'zsh'] as const;
export type Shell = (typeof SHELLS)[number];

/**
 * What a shell runs to complete: it asks `loden completion reply`, and falls back to files where that knows nothing. bash breaks words at
 * `=` and `:` too (COMP_WORDBREAKS), so it gives the line as it stands.
 */
export const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `# loden's completion for bash: source <(loden completion bash)
_loden() {
  local IFS=$'\\n'
  COMPREPLY=($(loden completion reply bash "\${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
}
complete -o default -F _loden loden
`,
  zsh: `#compdef loden
# loden's completion for zsh: source <(loden completion zsh), or as _loden in a directory of $fpath
_loden() {
  local -a reply
  reply=("\${(@f)$(loden completion reply zsh "\${(@)words[1,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${reply[1]}" ]]; then
    compadd -- "\${reply[@]}"
  else
    _files
  fi
}
if [[ "\${funcstack[1]}" == _loden ]]; then _loden "$@"; else compdef _loden loden; fi
`,
};
