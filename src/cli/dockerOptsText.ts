import { LodenError } from '../errors.ts';
import { show } from '../fields.ts';

/** Docker's options for a node's subnet, as flannel's mk-docker-opts.sh writes them. deploy/mk-docker-opts.sh does the same in sh. */

export interface Shape {
  /** Each option as a variable of its own. */
  readonly individual: boolean;
  /** All in one variable. */
  readonly combined: boolean;
  /** That variable's name. */
  readonly key: string;
  readonly ipMasq: boolean;
}

type Env = Readonly<Record<string, string | undefined>>;

const WANTED = ['FLANNEL_SUBNET', 'FLANNEL_MTU', 'FLANNEL_IPMASQ'] as const;
type Wanted = (typeof WANTED)[number];

/** What is neither text nor a line's end, and so has no business in either file. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: likewise.
const CONTROL_OR_NEWLINE = /[\x00-\x1f\x7f]/;

const octet = '(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const SUBNET = new RegExp(`^${octet}(?:\\.${octet}){3}/(?:3[0-2]|[12]?[0-9])$`);

/**
 * The text of the options' file. `subnetFile` is read as lines `NAME=value`, nothing in it is ever carried out; names it does not have
 * are looked for in the environment. `where` names the file in errors. Throws LodenError.
 */
export function dockerOptsText(subnetFile: string, where: string, shape: Shape, env: Env): string {
  if (CONTROL.test(subnetFile)) throw new LodenError(`${where} has control characters: it is no subnet file`);
  const values = read(subnetFile, env);
  const wrong = (name: Wanted, expected: string): LodenError =>
    new LodenError(`${name} in ${where} is ${show(values[name])}, but should be ${expected}`);
  const options = inherited(env);
  const { FLANNEL_SUBNET: subnet, FLANNEL_MTU: mtu, FLANNEL_IPMASQ: masq } = values;
  if (subnet) {
    if (!SUBNET.test(subnet)) throw wrong('FLANNEL_SUBNET', 'an IPv4 subnet such as 10.1.74.1/24');
    options.set('DOCKER_OPT_BIP', `--bip=${subnet}`);
  }
  if (mtu) {
    if (!/^[1-9][0-9]{1,4}$/.test(mtu) || Number(mtu) < 68 || Number(mtu) > 65_535)
      throw wrong('FLANNEL_MTU', 'a number from 68 to 65535');
    options.set('DOCKER_OPT_MTU', `--mtu=${mtu}`);
  }
  if (masq && shape.ipMasq) {
    if (masq !== 'true' && masq !== 'false') throw wrong('FLANNEL_IPMASQ', 'true or false');
    // Only one of the two masquerades.
    options.set('DOCKER_OPT_IPMASQ', `--ip-masq=${masq === 'false'}`);
  }
  return format(options, shape, env);
}

function format(options: ReadonlyMap<string, string>, shape: Shape, env: Env): string {
  const sorted = [...options].sort(([a], [b]) => (a < b ? -1 : 1));
  const before = clean(shape.key, env[shape.key] ?? '');
  let text = '';
  if (shape.individual) for (const [name, value] of sorted) text += `${name}="${escaped(value)}"\n`;
  if (!shape.combined) return text;
  const all = (before && `${before} `) + sorted.map(([, value]) => ` ${value}`).join('');
  return `${text}${shape.key}="${escaped(all)}"\n`;
}

/** The last line of a name counts, as when a shell reads the file; quotes around a value are not part of it. */
function read(text: string, env: Env): Readonly<Partial<Record<Wanted, string>>> {
  const values: Partial<Record<Wanted, string>> = {};
  for (const name of WANTED) if (env[name]) values[name] = env[name];
  for (const line of text.split('\n')) {
    const [, name, value] = /^[ \t]*(?:export[ \t]+)?([A-Z_]+)=(.*?)[ \t]*$/s.exec(line) ?? [];
    const wanted = WANTED.find((w) => w === name);
    if (wanted) values[wanted] = value!.replace(/^(["'])(.*)\1$/s, '$2');
  }
  return values;
}

/** Further options for Docker, which somebody set for us. */
function inherited(env: Env): Map<string, string> {
  const names = Object.keys(env).filter((name) => /^DOCKER_OPT_[A-Za-z0-9_]+$/.test(name) && env[name]);
  return new Map(names.map((name) => [name, clean(name, env[name]!)]));
}

function clean(name: string, value: string): string {
  if (!CONTROL_OR_NEWLINE.test(value)) return value;
  throw new LodenError(`${name} in the environment has control characters: set it to one line of text`);
}

/** For double quotes as sh and systemd's EnvironmentFile= read them. */
const escaped = (value: string): string => value.replace(/[\\"$`]/g, '\\$&');
