import { COMMAND_NAMES, type Command, GROUPS, type Option } from './option.ts';
import { envName, hasEnvName, OPTIONS, type OptionName, optionNames } from './options.ts';

/** docs/options.md, from the table of options. */

const HEAD = `# Options

Flags count more than the environment, the environment more than defaults; there is no configuration file. Go-style
single dashes work (\`-iface=eth0\`, \`-v=4\`), a boolean needs no value (\`--ip-masq\`), booleans may be written as Go
writes them (\`1\`, \`t\`, \`TRUE\`, …), of an option given twice the last counts unless it may be repeated, and an empty
variable is none. What \`run\` takes can stand in the environment, for other commands too; what only others take cannot. Unknown options end Loden with exit code 64; wrong values with 78 and a list of all of them.

The network config in etcd (\`<etcd-prefix>/config\`) is not set by options. \`loden docker-opts\` has those of flannel's mk-docker-opts.sh
([deploy.md](deploy.md)), and takes none from the environment.
`;

const inCell = (text: string): string => text.replace(/\|/g, '\\|');

const family = (command: Command): string => command.split(' ')[0]!;

/** Those that take it; where all of a family do, the family. */
function shortest(commands: readonly Command[]): string {
  const names = COMMAND_NAMES.filter((name) => commands.includes(name)).map((name) => {
    const whole = COMMAND_NAMES.filter((other) => family(other) === family(name));
    return whole.every((other) => commands.includes(other)) ? family(name) : name;
  });
  return [...new Set(names)].join(', ');
}

function row(name: OptionName): string {
  const { kind, fallback, commands, help, ignored, many, secret }: Option = OPTIONS[name];
  const flag = `\`${name.length === 1 ? '-' : '--'}${name}\`${many ? ' (may be repeated)' : ''}`;
  const effect = ignored === undefined ? '' : ` Accepted without effect: ${ignored}.`;
  const hidden = secret ? ' Never shown.' : '';
  const cells = [
    flag,
    hasEnvName(name) ? `\`${envName(name)}\`` : '',
    inCell(kind.placeholder),
    fallback === undefined ? '' : `\`${fallback}\``,
    inCell(help) + hidden + effect,
    shortest(commands),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** The whole page. */
export function optionsPage(): string {
  const sections = GROUPS.map((group) => {
    const names = optionNames.filter((name) => OPTIONS[name].group === group);
    const lines = [
      '| option | environment | value | default | meaning | commands |',
      '|---|---|---|---|---|---|',
      ...names.map(row),
    ];
    return `\n## ${group}\n\n${lines.join('\n')}\n`;
  });
  return HEAD + sections.join('');
}
