import type { Facts } from '../facts.ts';
import { type Check, type Found, failure, info, ok, orOk, skipped, warning } from '../types.ts';

/** What flannel's plugin delegates to unless its configuration says otherwise, and what that needs. */
const DELEGATES = ['bridge', 'host-local'];
const OURS = ['loden', 'flannel'];

/** Are the plugin and its configuration where runtimes look for them? */
export const cni: Check<Facts> = {
  id: 'cni',
  group: 'Pods',
  title: 'CNI plugin',
  look(facts) {
    if ('missing' in facts.cni) return [skipped(facts.cni.missing)];
    const { confDir, binDir, configurations, binaries, runtime } = facts.cni.value;
    const install = 'loden cni install';
    if (!configurations || configurations.length === 0) {
      const cause = `there is no network configuration in ${confDir}`;
      return [
        runtime === undefined
          ? ok(`${cause}, and no runtime here that would want one`)
          : warning(confDir, `${cause}, but ${runtime} runs here: its pods get no network`, install),
      ];
    }
    const found: Found[] = [];
    const [first] = configurations;
    if (first!.plugins === null)
      found.push(
        failure(
          first!.file,
          `${confDir}/${first!.file} cannot be read as a network configuration`,
          `correct it, or remove it and run ${install}`,
        ),
      );
    else if (!first!.plugins.some((p) => OURS.includes(p))) {
      const ours = configurations.find((c) => c.plugins?.some((p) => OURS.includes(p)));
      const cause = `runtimes take ${first!.file}, the first in ${confDir}, which is for ${first!.plugins[0] ?? 'nothing'}`;
      found.push(
        ours
          ? warning(
              first!.file,
              `${cause}; ${ours.file} comes after it and is not used`,
              `remove or rename ${confDir}/${first!.file}`,
            )
          : info(first!.file, `${cause}: pods are not attached by loden`, install),
      );
    }
    const named = first!.plugins ?? [];
    // What another overlay needs is its own business.
    if (!named.some((p) => OURS.includes(p))) return orOk(found, `${first!.file} is not ours`);
    const types = new Set(
      named.includes('flannel') && !isOurFlannel(binaries) ? [...named, ...DELEGATES] : named,
    );
    if (binaries.size === 0) {
      if (types.size > 0)
        found.push(failure(binDir, `there are no plugins in ${binDir}`, `${install} --bin-dir ${binDir}`));
    } else
      for (const type of [...types].filter((t) => !binaries.has(t)))
        found.push(
          failure(
            `${binDir}/${type}`,
            `${first!.file} names the plugin ${type}, which is not in ${binDir}: pods cannot be attached`,
            OURS.includes(type)
              ? `${install} --bin-dir ${binDir}`
              : `install the CNI project's plugins (Debian: containernetworking-plugins) into ${binDir}`,
          ),
        );
    return orOk(found, `${first!.file} and its plugins are in place`);
  },
};

/** Ours stands under both names, and needs no delegate. */
const isOurFlannel = (binaries: ReadonlySet<string>): boolean => binaries.has('loden');
