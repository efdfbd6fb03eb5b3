import type { State } from '../data/state.ts';
import { bytes, duration, rate, roundTrip } from '../model/words.ts';
import { useSignal } from '../signal.ts';
import { Dialog } from './dialog.tsx';
import { useClock } from './stale.tsx';

/** All that is known of one lease, kept up to date while it is open. */
export function Detail({
  state,
  leaseKey,
  onClose,
}: {
  readonly state: State;
  readonly leaseKey: string;
  readonly onClose: () => void;
}) {
  const row = useSignal(state.rows)?.find((r) => r.key === leaseKey);
  const now = useClock();
  if (!row) {
    return (
      <Dialog title={leaseKey} onClose={onClose}>
        <p>This lease is gone.</p>
      </Dialog>
    );
  }
  const { lease, peer } = row;
  const facts: readonly (readonly [string, string])[] = [
    ['State', row.words],
    ...(peer?.problem && peer.problem !== row.words ? [['Not served', peer.problem] as const] : []),
    [
      'Time left',
      lease.reservation
        ? 'a reservation does not run out'
        : row.endsAt === null
          ? 'not known yet'
          : duration((row.endsAt - now) / 1000),
    ],
    ['Subnets', row.subnets.join(', ')],
    ['Address', row.address || '–'],
    ['Backend', row.backend || '–'],
    ['Node', lease.node ?? 'tells none (flannel)'],
    [
      'Backend data',
      [lease.data, lease.dataV6]
        .filter((d) => d !== null)
        .map((d) => JSON.stringify(d))
        .join(' ') || '–',
    ],
    ['etcd lease', lease.reservation ? 'none: a reservation' : (lease.etcdLease ?? '–')],
    ['Revisions', `created at ${lease.createRevision}, written at ${lease.modRevision}`],
    [
      'Traffic',
      peer?.traffic
        ? `in ${bytes(peer.traffic.inBytes)} (${rate(row.inRate ?? 0)}), out ${bytes(peer.traffic.outBytes)} (${rate(row.outRate ?? 0)})`
        : 'not counted',
    ],
  ];
  return (
    <Dialog title={row.subnets.join(', ')} onClose={onClose}>
      <dl class="detail">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {peer && peer.paths.length > 0 && (
        <table class="paths">
          <caption>Probes through the tunnel</caption>
          <thead>
            <tr>
              <th scope="col">To</th>
              <th scope="col">Path</th>
              <th scope="col">RTT</th>
              <th scope="col">Lost</th>
              <th scope="col">Full size</th>
              <th scope="col">Path MTU</th>
              <th scope="col">Checksums</th>
            </tr>
          </thead>
          <tbody>
            {peer.paths.map((p) => (
              <tr key={p.target}>
                <th scope="row">{p.target}</th>
                <td class={p.health}>
                  {p.health}
                  {p.error ? `: ${p.error}` : ''}
                </td>
                <td>
                  {p.rtt === null ? '–' : roundTrip(p.rtt)}
                  {p.leastRtt === null ? '' : ` (least ${roundTrip(p.leastRtt)})`}
                </td>
                <td>
                  {p.lost} of {p.sent}
                </td>
                <td>{p.fullSize}</td>
                <td>
                  {p.pathMtu ?? '–'}
                  {p.routeMtu === null ? '' : ` (route lowered to ${p.routeMtu})`}
                </td>
                <td>{p.checksum}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Dialog>
  );
}
