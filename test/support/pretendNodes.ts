import { EventLog } from '../../src/daemon/events/log.ts';
import { seeded } from './seeded.ts';

/** A cluster that is made up, and always in motion. */

export interface Node {
  readonly key: string;
  readonly subnet: string;
  readonly ip: string;
  readonly reservation: boolean;
  /** Does it answer? */
  up: boolean;
  rtt: number;
  lost: number;
  inBytes: number;
  outBytes: number;
  /** Bytes a second. */
  rate: number;
}

/** Nodes that come and go, carry traffic, and answer or not; with the events that tell of it. */
export class PretendNodes {
  readonly events = new EventLog('5eed000000000001');
  readonly #random = seeded(7);
  readonly startedAt = new Date();
  #nodes: Node[] = [];
  #revision = 1_000;
  #next = 1;

  constructor(nodes: number) {
    for (let i = 0; i < nodes; i++) this.#join();
    this.events.note({ level: 'info', kind: 'daemon', message: 'ready' });
  }

  #join(): Node {
    // Spread over a /12 with /24s: 4,096 slots, so that the map has gaps.
    const slot = (this.#next++ * 3) % 4_096;
    const subnet = `10.${64 + (slot >> 8)}.${slot & 255}.0/24`;
    const n = this.#next;
    const node: Node = {
      key: subnet.replace('/', '-'),
      subnet,
      ip: `172.${16 + (n >> 14)}.${(n >> 6) & 255}.${(n & 63) + 1}`,
      reservation: n % 41 === 0,
      up: n % 97 !== 0,
      rtt: 0.1 + this.#random() ** 3 * 8,
      lost: n % 89 === 0 ? 4 : 0,
      inBytes: 0,
      outBytes: 0,
      rate: this.#random() ** 6 * 40e6,
    };
    this.#nodes.push(node);
    this.#revision++;
    return node;
  }

  /** The node whose daemon is asked comes first. */
  get all(): readonly Node[] {
    return this.#nodes;
  }

  get revision(): string {
    return String(this.#revision);
  }

  /** Half a second later: traffic flows, paths change, a node comes or goes now and then; each with its event. */
  step(): void {
    for (const node of this.#nodes) {
      const wave = 1 + Math.sin(Date.now() / 4_000 + node.rtt * 7);
      node.inBytes += Math.round((node.rate * wave) / 2);
      node.outBytes += Math.round((node.rate * wave) / 5);
    }
    for (let i = 0; i < 10; i++) this.#some().rtt = 0.1 + this.#random() ** 3 * 8;
    const flapping = this.#some();
    flapping.up = !flapping.up;
    this.events.note({
      level: flapping.up ? 'info' : 'warn',
      kind: 'path',
      subject: flapping.key,
      message: flapping.up
        ? `${flapping.subnet} is reachable again`
        : `${flapping.subnet} cannot be reached any more`,
    });
    if (this.#random() < 0.3) {
      const gone = this.#some();
      this.#nodes = this.#nodes.filter((n) => n !== gone);
      this.#revision++;
      this.events.note({
        level: 'info',
        kind: 'peer',
        subject: gone.key,
        message: `the lease of ${gone.subnet} is gone`,
      });
      const come = this.#join();
      this.events.note({
        level: 'info',
        kind: 'peer',
        subject: come.key,
        message: `new lease ${come.subnet}`,
      });
    }
  }

  /** Any but ourselves, the first. */
  #some(): Node {
    return this.#nodes[1 + Math.floor(this.#random() * (this.#nodes.length - 1))]!;
  }

  /** Something drastic: that many nodes stop answering at once. */
  lose(count: number): void {
    for (const node of this.#nodes.slice(1, 1 + count)) node.up = false;
    this.events.note({
      level: 'error',
      kind: 'path',
      message: `${count} peers cannot be reached any more`,
    });
  }

  /** By subnet. */
  get sorted(): readonly Node[] {
    const number = (n: Node) => n.subnet.split(/[./]/).reduce((sum, part) => sum * 256 + Number(part), 0);
    return [...this.#nodes].sort((a, b) => number(a) - number(b));
  }
}
