import { command } from '../command.ts';
import { DOCKER_OPTS_USAGE, dockerOptsOptions } from '../dockerOptsOptions.ts';

/** Its options are those of a shell script, by single letters. */
export const dockerOpts = command({
  name: 'docker-opts',
  description: "Write Docker's options for this node's subnet: flannel's mk-docker-opts.sh.",
  ownArguments: true,
  parse: ({ rest }) => dockerOptsOptions(rest) ?? 'help',
  run: async (options, io) => {
    if (options === 'help') io.print(`${DOCKER_OPTS_USAGE}\n`);
    else await (await import('../dockerOpts.ts')).dockerOpts(options, io.env, io.warn);
    return 0;
  },
});
