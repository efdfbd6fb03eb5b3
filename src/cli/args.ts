import type { Option } from '../config/option.ts';
import { isOptionName, OPTIONS } from '../config/options.ts';

/**
 * Bring Go-style arguments, as they stand in people's unit files, into the one form `--name=value`: `-iface eth0`,
 * `-iface=eth0`, `--ip-masq`, `-v=4`. As in Go, a boolean takes its value by `=` only. What is not an option of ours
 * is left as it is, for the parser behind to complain about; so is everything after `--`.
 */
export function normaliseArgs(argv: readonly string[]): string[] {
  const out: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i]!;
    if (arg === '--') return [...out, ...argv.slice(i)];
    const [, name, value] = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(arg) ?? [];
    if (name === 'h' || name === 'help' || name === 'version')
      out.push(name === 'h' ? '--help' : `--${name}`);
    else if (name === undefined || !isOptionName(name)) out.push(arg);
    else if (value !== undefined) out.push(`--${name}=${value}`);
    else if ((OPTIONS[name] as Option).kind.flag) out.push(`--${name}=true`);
    else if (i + 1 < argv.length) out.push(`--${name}=${argv[++i]}`);
    else out.push(`--${name}`);
  }
  return out;
}
