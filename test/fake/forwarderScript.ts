import type { ForwarderAddon, ForwarderEvent, ForwarderQueue } from '../../src/native/forwarder.ts';

/** The host under an addon, real or not: it has the addresses 192.0.2.1 and 2001:db8::1. */
export interface ScriptHost {
  deleteDevice(name: string): Promise<void>;
  renameDevice(name: string, to: string): Promise<void>;
  setUp(name: string, up: boolean): Promise<void>;
  /** Another program listens at 192.0.2.1 on this port. */
  take(port: number): Promise<void>;
}

const V4 = Uint8Array.of(192, 0, 2, 1);
const V6 = Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

/** What was done, and what came of it, in words that do not depend on numbers of descriptors or devices. */
export async function forwarderScript(addon: ForwarderAddon, host: ScriptHost): Promise<string[]> {
  const said: string[] = [];
  const events: ForwarderEvent[] = [];
  const said_ = (what: string, result: unknown) => said.push(`${what}: ${JSON.stringify(result)}`);
  const attempt = <T>(
    what: string,
    work: () => T,
    show: (value: T) => unknown = () => 'ok',
  ): T | undefined => {
    try {
      const value = work();
      said_(what, show(value));
      return value;
    } catch (e) {
      said_(what, (e as { code?: string }).code ?? (e as Error).name);
      return undefined;
    }
  };
  const count = (fds: readonly number[]) => fds.length;
  const counts = (end: { sockets: number[]; senders: number[] }) => [end.sockets.length, end.senders.length];
  const eventually = async (what: string, holds: () => boolean) => {
    for (let i = 0; i < 300 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
    said_(what, holds());
  };

  attempt('attach to nothing', () => addon.tunAttach('flannel0', 1));
  attempt('create', () => addon.tunCreate('flannel0'));
  attempt('create again', () => addon.tunCreate('flannel0'));
  await host.setUp('flannel0', true);
  const tun = attempt('attach', () => addon.tunAttach('flannel0', 2), count)!;
  const more = attempt('attach more', () => addon.tunAttach('flannel0', 1), count)!;
  const name = attempt(
    'identity',
    () => addon.tunIdentity(tun[0]!),
    ({ name: n, flags }) => [n, flags & 0x9fff],
  );
  said_(
    'one device',
    new Set([...tun, ...more].map((fd) => addon.tunIdentity(fd).ifindex)).size === 1 && !!name,
  );
  const v4 = attempt('bind', () => addon.udpOpen(V4, 8285, 2), counts)!;
  const v6 = attempt('bind v6', () => addon.udpOpen(V6, 8285, 2), counts)!;
  const one = attempt('bind one', () => addon.udpOpen(V4, 8286, 1), counts)!;
  await host.take(9999);
  attempt('bind what is taken', () => addon.udpOpen(V4, 9999, 2));
  attempt('bind what is not here', () => addon.udpOpen(Uint8Array.of(192, 0, 2, 99), 8285, 1));
  attempt(
    'udp identity',
    () => addon.udpIdentity(v4.sockets[1]!),
    ({ address, port }) => [[...address], port],
  );
  attempt(
    'udp identity v6',
    () => addon.udpIdentity(v6.sockets[0]!),
    ({ address, port }) => [[...address], port],
  );
  attempt('udp identity of a queue', () => addon.udpIdentity(tun[0]!));
  attempt('tun identity of a socket', () => addon.tunIdentity(v4.sockets[0]!));
  attempt('identity of nothing', () => addon.tunIdentity(9_999));

  const forwarder = addon.forwarder(-1, (event) => events.push(event));
  const queue = (i: number): ForwarderQueue => ({
    tun: tun[i]!,
    udp4: v4.sockets[i]!,
    udp6: v6.sockets[i]!,
    out4: v4.senders[i]!,
    out6: v6.senders[i]!,
  });
  attempt('start with nothing', () => forwarder.start([]));
  attempt('start without a socket', () => forwarder.start([{ ...queue(0), udp4: -1, udp6: -1 }]));
  attempt(
    'start',
    () => forwarder.start([queue(0), queue(1)]),
    (ability) => Object.keys(ability).sort(),
  );
  attempt('start again', () => forwarder.start([queue(0)]));
  attempt('swap nonsense', () => forwarder.swap(Uint8Array.of(1, 2, 3)));
  attempt(
    'counters',
    () => forwarder.counters(),
    (all) => all.length === length(addon),
  );
  attempt(
    'peer counters',
    () => forwarder.peerCounters(Uint32Array.of(5, 7)),
    (all) => all.length,
  );
  forwarder.stop();
  attempt('stop again', () => forwarder.stop());
  attempt('start once more, one socket', () =>
    forwarder.start([{ tun: tun[0]!, udp4: one.sockets[0]!, udp6: -1, out4: -1, out6: -1 }]),
  );
  await host.renameDevice('flannel0', 'renamed0');
  attempt(
    'identity after renaming',
    () => addon.tunIdentity(tun[0]!),
    (id) => id.name,
  );
  await host.renameDevice('renamed0', 'flannel0');
  await host.setUp('flannel0', true);
  said_('nothing was lost so far', events);
  await host.deleteDevice('flannel0');
  await eventually('lost', () => events.length > 0);
  said_('event', events.map(({ kind, queue: q }) => [kind, q]).slice(0, 1));
  attempt('identity after deleting', () => addon.tunIdentity(tun[0]!));
  forwarder.stop();
  attempt('close', () => addon.closeFds([...tun, ...more]));
  attempt('create anew', () => addon.tunCreate('flannel0'));
  const anew = attempt('attach anew', () => addon.tunAttach('flannel0', 1), count)!;
  attempt('start anew', () => forwarder.start([{ ...queue(0), tun: anew[0]! }]));
  forwarder.close();
  attempt('start when closed', () => forwarder.start([{ ...queue(0), tun: anew[0]! }]));
  attempt('close again', () => forwarder.close());
  attempt('close the rest', () =>
    addon.closeFds([...anew, ...[v4, v6, one].flatMap(({ sockets, senders }) => [...sockets, ...senders])]),
  );
  return said;
}

const length = (addon: ForwarderAddon): number => {
  const { counters, drops } = addon.forwarderLayout();
  return counters.length + 2 * drops.length;
};
