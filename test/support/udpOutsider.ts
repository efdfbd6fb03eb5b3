import { join } from 'node:path';
import { UDP_PORT } from '../../src/contract.ts';
import type { Cluster } from './cluster.ts';
import { flannelKey, putFlannelLease } from './flannelLease.ts';
import { nthSubnet } from './pinned.ts';
import type { Proc } from './proc.ts';
import type { Attachment } from './underlay.ts';

/** A datagram to a forwarder. */
export interface Datagram {
  readonly data: Uint8Array;
  /** Its source: an address of the outsider, by default that of eth0 in the family of `to`; a port, by default any. */
  readonly from?: string;
  readonly port?: number;
}

/** Sends what it is told on standard input, in order: `TO PORT`, lines of `FROM|- PORT HEX`. */
const SEND = `
const { createSocket } = require('node:dgram');
const [to, port] = process.argv.slice(1);
const lines = require('node:fs').readFileSync(0, 'utf8').trim().split('\\n');
const sockets = new Map();
const open = (from, port) => new Promise((done, fail) => {
  const socket = createSocket({ type: to.includes(':') ? 'udp6' : 'udp4', reuseAddr: true });
  socket.on('error', fail);
  socket.bind(port, from === '-' ? undefined : from, () => done(socket));
});
(async () => {
  for (const line of lines) {
    const [from, own, hex] = line.split(' ');
    const key = from + ' ' + own;
    if (!sockets.has(key)) sockets.set(key, await open(from, Number(own)));
    await new Promise((done, fail) => sockets.get(key).send(Buffer.from(hex ?? '', 'hex'), Number(port), to,
      (error) => error ? fail(error) : done()));
  }
  process.exit(0);
})();
`;

/** Says what arrives, in hex: `ADDRESS PORT`. */
const LISTEN = `
const [address, port] = process.argv.slice(1);
const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
socket.on('message', (data, { address }) => console.log('got ' + address + ' ' + data.toString('hex')));
socket.bind(Number(port), address, () => console.log('listening'));
`;

/** A host on the underlay that sends what it likes. With a lease it is a peer, else nobody. */
export class Outsider implements AsyncDisposable {
  readonly at: Attachment;
  readonly #dir: string;
  #listeners = 0;

  private constructor(at: Attachment, dir: string) {
    this.at = at;
    this.#dir = dir;
  }

  static async create(cluster: Cluster, label: string, segment = 0): Promise<Outsider> {
    return new Outsider(await cluster.underlay.attach(label, { segment }), cluster.hosts[0]!.dir);
  }

  /** Give it a lease in flannel's form: the n-th subnets. */
  async enrol(cluster: Cluster, n: number, publicIP: string = this.at.ipv4): Promise<void> {
    const v6 = cluster.families.includes(6);
    await putFlannelLease(cluster, flannelKey(cluster.families.map((family) => nthSubnet(family, n))), {
      PublicIP: publicIP,
      PublicIPv6: v6 ? this.at.ipv6 : null,
    });
  }

  /** Send these to an address of a forwarder's host, in order. */
  async send(to: string, datagrams: readonly Datagram[]): Promise<void> {
    const lines = datagrams.map(
      ({ data, from = '-', port = 0 }) => `${from} ${port} ${Buffer.from(data).toString('hex')}`,
    );
    const argv = [process.execPath, '--eval', SEND, '--', to, String(UDP_PORT)];
    await this.at.netns.run(argv, { input: `${lines.join('\n')}\n` });
  }

  /** Take what a forwarder sends here. `got`: the packets in hex, so far. */
  async listen(address: string): Promise<{ proc: Proc; got: () => string[] }> {
    const proc = await this.at.netns.start(
      [process.execPath, '--eval', LISTEN, '--', address, String(UDP_PORT)],
      { log: join(this.#dir, `${this.at.port}-listen-${++this.#listeners}.log`) },
    );
    await proc.saying(/listening/);
    return { proc, got: () => Array.from(proc.output().matchAll(/^got \S+ (\w*)$/gm), (m) => m[1]!) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.at.netns[Symbol.asyncDispose]();
  }
}
