import { UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import { SCRIPTS, SHELLS, type Shell } from '../completion/scripts.ts';

const USAGE = `loden completion bash|zsh

Print a script by which the shell completes commands, options, their values, subnets and nodes.

  source <(loden completion bash)     in ~/.bashrc
  source <(loden completion zsh)      in ~/.zshrc
`;

type Asked =
  | { readonly do: 'help' }
  | { readonly do: 'script'; readonly shell: Shell }
  /** For the scripts only. */
  | { readonly do: 'reply'; readonly shell: Shell; readonly words: readonly string[] };

/** What the shell passes on to be completed is no option of this command. */
export const completion = command({
  name: 'completion',
  description: 'Print the completion script of a shell: bash or zsh.',
  ownArguments: true,
  parse: ({ rest }): Asked => {
    const [first, second, ...words] = rest;
    if (first === '--help' || first === '-h' || first === '-help') return { do: 'help' };
    const shell = SHELLS.find((s) => s === (first === 'reply' ? second : first));
    if (shell && first === 'reply') return { do: 'reply', shell, words };
    if (shell && rest.length === 1) return { do: 'script', shell };
    throw new UsageError(`loden completion takes the name of a shell, ${SHELLS.join(' or ')}`);
  },
  run: async (asked, io) => {
    if (asked.do === 'help') io.print(USAGE);
    else if (asked.do === 'script') io.print(SCRIPTS[asked.shell]);
    else {
      const [{ reply }, { COMMANDS }] = await Promise.all([
        import('../completion/reply.ts'),
        import('../registry.ts'),
      ]);
      await reply(COMMANDS, asked.shell, asked.words, io);
    }
    return 0;
  },
});
