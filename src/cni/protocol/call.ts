import * as v from 'valibot';
import { CNI } from '../../contract.ts';
import { CniError, CODE } from '../errors.ts';
import type { PluginCall } from '../types.ts';

/** The variables the protocol knows; others in a call are passed over. */
const VARIABLES = [
  'CNI_COMMAND',
  'CNI_CONTAINERID',
  'CNI_NETNS',
  'CNI_IFNAME',
  'CNI_ARGS',
  'CNI_PATH',
  'CNI_NETNS_OVERRIDE',
] as const;

/** Delegates of one call over all its rounds: 8 rounds of a few. */
const MOST_DELEGATES = 64;

const bytes = (most: number, what: string) =>
  v.pipe(
    v.string(),
    v.check(
      (text) => text.length <= most && Buffer.byteLength(text) <= most,
      `${what} is longer than ${most} bytes`,
    ),
  );

/** No environment variable can hold a zero, and no path or name may: the kernel would end it there. */
const variable = v.pipe(
  bytes(CNI.largestConfig, 'a variable'),
  v.check((text) => !text.includes('\0'), 'a variable has a zero byte in it'),
);

const Call = v.object({
  env: v.object(
    Object.fromEntries(VARIABLES.map((name) => [name, v.optional(variable)])) as Record<
      (typeof VARIABLES)[number],
      v.OptionalSchema<typeof variable, undefined>
    >,
  ),
  stdin: bytes(CNI.largestConfig, 'the configuration'),
  netns: v.optional(v.pipe(v.string(), v.regex(/^\d{1,20}:\d{1,20}$/, 'netns is not <dev>:<ino>'))),
  delegated: v.optional(
    v.pipe(
      v.array(
        v.object({
          exit: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255)),
          stdout: bytes(CNI.largestConfig, "a delegate's output"),
        }),
      ),
      v.maxLength(MOST_DELEGATES),
    ),
  ),
});

/** The body of `POST /v1/cni`, hostile until read; throws CniError (code 6) when it is none. */
export function parseCall(body: unknown): PluginCall {
  const read = v.safeParse(Call, body, { abortEarly: true });
  if (!read.success) {
    const [issue] = read.issues;
    const at = v.getDotPath(issue);
    throw new CniError(
      CODE.decodingFailure,
      `the plugin's request cannot be read: ${at ? `${at}: ` : ''}${issue.message}`,
      'plugin binary and daemon may be of different versions: `loden cni install` puts the right one in place',
    );
  }
  const { env, stdin, netns, delegated } = read.output;
  return {
    env: Object.fromEntries(Object.entries(env).filter((e): e is [string, string] => e[1] !== undefined)),
    stdin,
    ...(netns === undefined ? {} : { netns }),
    ...(delegated === undefined ? {} : { delegated }),
  };
}
