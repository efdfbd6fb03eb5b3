import { join } from 'node:path';
import { thisProcess } from './owner.ts';
import { Proc, until } from './proc.ts';

/** Node.js has no datagram sockets of this kind; Perl is on every Debian (perl-base is essential). One line a datagram. */
const LISTENER = String.raw`
use Socket;
$| = 1;
socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
bind($socket, sockaddr_un($ARGV[0])) or die "bind: $!";
print "listening\n";
while (defined recv($socket, my $datagram, 65536, 0)) {
  print join("\t", split("\n", $datagram)), "\n";
}
`;

/** A service manager's end of NOTIFY_SOCKET (sd_notify(3)). */
export class NotifySocket implements AsyncDisposable {
  readonly path: string;
  readonly #listener: Proc;

  private constructor(path: string, listener: Proc) {
    this.path = path;
    this.#listener = listener;
  }

  static async listen(): Promise<NotifySocket> {
    const dir = thisProcess().tempDir('notify');
    const path = join(dir, 'socket');
    const listener = await Proc.start(['perl', '-e', LISTENER, path], { log: join(dir, 'log') });
    await listener.saying(/listening/);
    return new NotifySocket(path, listener);
  }

  /** Every assignment so far, in order, e.g. `READY=1`. */
  get told(): string[] {
    return this.#listener
      .output()
      .split('\n')
      .slice(1, -1)
      .flatMap((datagram) => datagram.split('\t'));
  }

  /** How often exactly this was told. */
  count(assignment: string): number {
    return this.told.filter((text) => text === assignment).length;
  }

  /** Wait until something that matches is told; resolves to it. */
  saying(pattern: RegExp): Promise<string> {
    return until(`${pattern} to be told`, () => this.told.find((text) => pattern.test(text)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener.stop();
  }
}
