import { fstatSync, readlinkSync } from 'node:fs';
import type { Bundle } from '../forwarder/bundle.ts';
import { addon } from '../native/addon.ts';
import { closeAll } from './connection.ts';
import { type Identity, isOurName, LISTEN_VARIABLES, namesOf, parseListenFds, unpack } from './listenFds.ts';
import type { HandoverLog } from './server.ts';

/** Milliseconds between two tries to tell a service manager that takes nothing, and how often. */
const RETRY = 20;
const TRIES = 50;

/**
 * systemd's file-descriptor store (sd_pid_notify_with_fds(3)): what is in it comes back with the next start, after a
 * `restart` and after a crash. Needs FileDescriptorStoreMax= in the unit; without it systemd closes what it gets.
 */
export class FdStore {
  readonly #socket: string | undefined;
  readonly #log: HandoverLog;
  /** The names of ours in the store. */
  #names: ReadonlySet<string> = new Set();
  /** What is in it, so that the same is not stored again. */
  #holds = '';
  /** Still to be told, in order. */
  #pending: { readonly state: string; readonly fds: readonly number[] }[] = [];
  #tries = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `env` is that of the process: it loses what was meant for us alone. */
  constructor(env: Record<string, string | undefined>, log: HandoverLog) {
    this.#socket = env.NOTIFY_SOCKET || undefined;
    this.#log = log;
  }

  /** The descriptors of the last process, once; what else was passed is closed. They are the caller's. */
  take(env: Record<string, string | undefined>): Bundle | undefined {
    const passed = parseListenFds(env, process.pid);
    for (const name of LISTEN_VARIABLES) delete env[name];
    const open = passed.filter(({ fd }) => isOpen(fd));
    addon().closeOnExec(open.map(({ fd }) => fd));
    const { bundle, strange } = unpack(open, identify);
    for (const { fd, name, why } of strange) {
      const closes = mayClose(fd);
      this.#log('warn', `a descriptor was passed that is not used${closes ? ': closed' : ''}`, {
        fd,
        name,
        why,
      });
      if (closes) closeAll([fd]);
    }
    this.#names = new Set(passed.map(({ name }) => name).filter(isOurName));
    this.#holds = bundle && strange.length === 0 ? contentsOf(bundle) : 'something else';
    if (bundle) {
      const { device, port, queues } = bundle;
      this.#log('info', 'got the descriptors of the last run', { device, port, queues: queues.length });
    }
    return bundle;
  }

  /**
   * Have the store hold these descriptors and no others of ours; undefined: none. To be called whenever
   * descriptors may have been opened or closed.
   */
  keep(bundle: Bundle | undefined): void {
    if (!this.#socket) return;
    const contents = bundle ? contentsOf(bundle) : '';
    if (contents === this.#holds) return;
    this.#holds = contents;
    const wanted = bundle ? namesOf(bundle) : new Map<string, number>();
    this.#pending = this.#pending.filter(({ fds }) => fds.length === 0);
    const gone = [...this.#names].map((name) => ({ state: `FDSTOREREMOVE=1\nFDNAME=${name}`, fds: [] }));
    // FDPOLL=0: an ICMP error pending on a socket is no reason to throw it out.
    const come = [...wanted].map(([name, fd]) => ({
      state: `FDSTORE=1\nFDPOLL=0\nFDNAME=${name}`,
      fds: [fd],
    }));
    this.#pending.push(...gone, ...come);
    this.#names = new Set(wanted.keys());
    this.#tries = 0;
    this.#flush();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    for (let next = this.#pending[0]; next; next = this.#pending[0]) {
      if (!this.#tell(next.state, next.fds)) {
        if (++this.#tries < TRIES) this.#timer = setTimeout(() => this.#flush(), RETRY).unref();
        else this.#giveUp('it takes nothing');
        return;
      }
      this.#pending.shift();
    }
  }

  #tell(state: string, fds: readonly number[]): boolean {
    try {
      return addon().sdNotify(this.#socket!, state, fds);
    } catch (error) {
      this.#giveUp((error as Error).message);
      return true;
    }
  }

  #giveUp(why: string): void {
    this.#pending = [];
    this.#log('warn', 'the service manager does not hold our descriptors: a restart will lose packets', {
      why,
    });
  }
}

/** Names and what is behind them: the number of a descriptor may come to stand for another file. */
function contentsOf(bundle: Bundle): string {
  const files = [...namesOf(bundle)].map(([name, fd]) => {
    const identity = identify(fd);
    return [name, fd, identity?.kind === 'tun' ? identity.ifindex : fstatSync(fd).ino];
  });
  return JSON.stringify(files);
}

function isOpen(fd: number): boolean {
  return target(fd) !== undefined;
}

const target = (fd: number): string | undefined => {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
};

/** Node.js has event and epoll descriptors and pipes; a wrong LISTEN_FDS must not make us close those. */
const mayClose = (fd: number): boolean => !/^(anon_inode|pipe):/.test(target(fd) ?? 'pipe:');

function identify(fd: number): Identity | undefined {
  try {
    const { name, ifindex, flags } = addon().tunIdentity(fd);
    return { kind: 'tun', device: name, ifindex, flags };
  } catch {
    // No queue of a TUN device.
  }
  try {
    const { address, port } = addon().udpIdentity(fd);
    return { kind: 'udp', family: address.length === 4 ? 4 : 6, port };
  } catch {
    return undefined;
  }
}
