import type { Io } from '../../src/cli/command.ts';
import type { Env } from '../../src/config/sources.ts';

/** The world around a command, as a test wants it; what is printed is kept. */
export interface FakeIo extends Io {
  readonly printed: string[];
  readonly warned: string[];
  /** Nobody reads any more. */
  hangUp(): void;
}

export function fakeIo(
  given: { readonly env?: Env; readonly input?: string; readonly terminal?: Io['terminal'] } = {},
): FakeIo {
  const printed: string[] = [];
  const warned: string[] = [];
  const gone = new AbortController();
  return {
    env: given.env ?? {},
    print: (text) => void printed.push(text),
    warn: (text) => void warned.push(text),
    read: async () => given.input ?? '',
    terminal: given.terminal,
    signal: gone.signal,
    printed,
    warned,
    hangUp: () => gone.abort(),
  };
}
