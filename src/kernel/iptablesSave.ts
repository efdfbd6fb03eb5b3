/** One rule as `iptables-save` prints it. */
export interface SavedRule {
  /** The text after `-A CHAIN `. */
  readonly text: string;
  /** The text split into arguments, quotes resolved. */
  readonly args: readonly string[];
  readonly comment?: string;
  /** The target of `-j` or `-g`. */
  readonly target?: string;
  /** `-g`: what follows in this chain is not reached when the other chain ends. */
  readonly goto: boolean;
  /** No match at all (a comment is none): it concerns every packet. */
  readonly blanket: boolean;
}

export interface SavedChain {
  /** `ACCEPT` or `DROP`; `-` for chains that are not hooked. */
  readonly policy: string;
  readonly rules: readonly SavedRule[];
}

/** One table, by the names of its chains. */
export type SavedTable = ReadonlyMap<string, SavedChain>;

/**
 * One table out of the text of `iptables-save`. Undefined when it is not in it: it does not exist, or it was made by
 * nft with words iptables does not know ("Table `filter' is incompatible, use 'nft' tool").
 */
export function parseSave(text: string, table: string): SavedTable | undefined {
  const chains = new Map<string, { policy: string; rules: SavedRule[] }>();
  let found = false;
  let inside = false;
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      inside = line.trim() === `*${table}`;
      found ||= inside;
    } else if (inside && line.startsWith(':')) {
      const [name, policy] = line.slice(1).split(' ');
      chains.set(name!, { policy: policy ?? '-', rules: [] });
    } else if (inside && line.startsWith('-A ')) {
      const end = line.indexOf(' ', 3);
      const name = end < 0 ? line.slice(3) : line.slice(3, end);
      chains.get(name)?.rules.push(parseRule(end < 0 ? '' : line.slice(end + 1)));
    }
  }
  return found ? chains : undefined;
}

/** One rule, as it stands after `-A CHAIN `. */
export function parseRule(text: string): SavedRule {
  const args = split(text);
  let target: string | undefined;
  let comment: string | undefined;
  let isGoto = false;
  let blanket = true;
  for (let i = 0; i < args.length; i++) {
    const word = args[i]!;
    if (word === '-j' || word === '-g') {
      target = args[i + 1] ?? '';
      isGoto = word === '-g';
      // What follows are the target's own options.
      break;
    }
    if (word === '--comment') comment = args[++i] ?? '';
    else if (word === '-m' && args[i + 1] === 'comment') i++;
    else blanket = false;
  }
  return {
    text,
    args,
    goto: isGoto,
    blanket,
    ...(comment === undefined ? {} : { comment }),
    ...(target === undefined ? {} : { target }),
  };
}

/** Split as iptables-restore does: blanks separate, double quotes join, a backslash escapes inside them. */
function split(text: string): string[] {
  const out: string[] = [];
  for (const [, quoted, plain] of text.matchAll(/"((?:\\.|[^"\\])*)"|(\S+)/g)) {
    out.push(quoted === undefined ? plain! : quoted.replaceAll(/\\(.)/g, '$1'));
  }
  return out;
}
