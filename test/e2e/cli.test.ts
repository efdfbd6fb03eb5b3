import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { EventsJson, LeaseJson, LeasesJson, PeersJson, StatusJson } from '../../src/api/shapes.ts';
import { EXIT, FILES } from '../../src/contract.ts';
import { ask } from '../support/ask.ts';
import { Cluster } from '../support/cluster.ts';
import { bothWays, lossless } from '../support/flow.ts';
import { type Host, LODEN } from '../support/host.ts';
import { CommandError, until } from '../support/proc.ts';

/** Commands of a host as an operator calls them, with their exit codes. */
function operator(cluster: Cluster, host: Host) {
  const etcd = ['--etcd-endpoints', cluster.etcd.endpoint()];
  const options = (args: readonly string[]): readonly string[] => {
    const [first, second] = args;
    if (second === 'validate' || first === 'version') return [];
    return ['--run-dir', host.runDir, ...(first === 'leases' || first === 'config' ? etcd : [])];
  };
  const run = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
    try {
      return { code: 0, out: await host.loden(...args, ...options(args)), err: '' };
    } catch (e) {
      if (!(e instanceof CommandError)) throw e;
      return { code: Number(e.status), out: e.stdout, err: e.stderr };
    }
  };
  return {
    run,
    ok: async (...args: string[]): Promise<string> => {
      const { code, out, err } = await run(...args);
      expect([code, err], args.join(' ')).toEqual([0, '']);
      return out;
    },
    json: async <T>(...args: string[]): Promise<T> => JSON.parse((await run(...args, '--json')).out) as T,
    /** In a shell, with the command as `$@`. */
    shell: (script: string, ...args: string[]): Promise<string> =>
      host.netns.run(['bash', '-c', script, 'bash', LODEN, ...args, ...options(args)]),
    /** One that goes on. */
    start: (log: string, ...args: string[]) =>
      host.netns.start([LODEN, ...args, ...options(args)], { log: join(host.dir, log) }),
  };
}

const subnetOf = async (host: Host): Promise<string> =>
  (await host.get<StatusJson>('/v1/status')).lease.lease!.subnets[0]!;

test.concurrent('operators see a cluster that is in order, and change it without a loss', async () => {
  await using cluster = await Cluster.start(3, { args: ['--lease-ttl', '30s'] });
  const [host, other] = cluster.hosts as [Host, Host, Host];
  const { run, ok, json, shell, start } = operator(cluster, host);
  const [own, theirs] = [await subnetOf(host), await subnetOf(other)];
  await until(
    'all peers to be reached',
    async () => (await json<StatusJson>('status')).paths.reachable === 2,
  );

  // What is shown.
  expect(await ok('status')).toMatch(
    /^ready +yes\n[\s\S]*\nlease +10\.42\.\d+\.0\/24, \d+s left\n[\s\S]*\npeers +2 of 2 reachable\n/,
  );
  const peers = await json<PeersJson>('peers');
  expect(peers.peers.map((p) => p.paths[0]?.health)).toEqual(['reachable', 'reachable']);
  expect(await ok('peers')).toMatch(
    /^SUBNET .*\n10\.42\.\d+\.0\/24 +192\.0\.2\.\d+ +reachable +[\d.]+ ms +0%/,
  );
  expect(await ok('leases', 'show', own)).toMatch(new RegExp(`^subnet +${own} \\(this host's\\)\n`));
  expect((await json<LeaseJson>('leases', 'show', theirs, '--source', 'etcd')).subnets).toEqual([theirs]);
  const { events } = await json<EventsJson>('events', '--kind=daemon');
  expect(events.map((e) => e.kind)).toContain('daemon');
  expect(await ok('events', '--since=1h')).toMatch(/ info +daemon +.*started/);
  expect(await ok('metrics')).toMatch(/^loden_ready 1$/m);
  expect((await json<{ samples: { name: string; value: number }[] }>('metrics')).samples).toContainEqual({
    name: 'loden_ready',
    labels: {},
    value: 1,
  });
  expect(await ok('config', 'show')).toMatch(
    /"Network": "10\.42\.0\.0\/16"[\s\S]*config: in force at this host's daemon\n$/,
  );
  expect(await json('version')).toEqual({ version: expect.any(String) });

  // A pipe is never coloured, a terminal is; a reader that goes away is no error.
  expect(await ok('status')).not.toContain('\u001b');
  const onTerminal = (env: string) => shell(`${env} script -qec "$(printf '%s ' "$@")" /dev/null`, 'status');
  expect(await onTerminal('TERM=xterm')).toContain('\u001b[32myes\u001b[39m');
  expect(await onTerminal('NO_COLOR=1')).not.toContain('\u001b[');
  // The left side begins when nobody reads any more, and tells how it ends.
  const unread = `exec 3>&1; { trap '' PIPE; while printf . 2>/dev/null; do :; done; "$@"; echo "$?" >&3; } | :`;
  expect(await shell(unread, 'metrics')).toBe('0\n');
  expect(await shell(unread, 'leases', '--watch')).toBe('0\n');
  expect(await shell('"$@" | head -n 1', 'metrics')).toMatch(/^# HELP .*\n$/);
  expect(await shell('"$@" --color=always | head -n 1', 'status')).toContain('\u001b[32m');
  // The shell completes with what the daemon knows.
  const script = `. /dev/stdin; COMP_LINE="loden leases show --run-dir ${host.runDir} 10.42."; COMP_POINT=\${#COMP_LINE}; _loden; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const completed = await host.netns.run([
    'bash',
    '-c',
    `PATH=$(dirname ${LODEN}):$PATH; loden completion bash | { ${script}; }`,
  ]);
  expect(completed.trim().split('\n').toSorted()).toEqual(
    (await json<LeasesJson>('leases')).leases.flatMap((l) => l.subnets).toSorted(),
  );

  // What is changed: nothing is lost, nobody moves.
  const pods = [await host.workload(), await other.workload()] as const;
  await using watch = await start('watch.log', 'leases', '--watch', '--json');
  const changes = () =>
    watch
      .output()
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { change: string; lease: LeaseJson });
  await until('the list', () => changes().length === 3);
  const node = (await json<LeaseJson>('leases', 'show', theirs)).node!;
  await lossless(bothWays(...pods), async () => {
    expect(await ok('leases', 'reserve', theirs, '--node', node.slice(0, 8))).toBe(
      `${theirs}: a reservation now: it never runs out\n`,
    );
    await until(
      'the owner to know',
      async () => (await other.get<StatusJson>('/v1/status')).lease.lease?.reservation,
    );
    expect((await run('leases', 'release', own)).err).toMatch(
      /is no reservation but the lease of node .*--force deletes it/,
    );
    expect(await ok('leases', 'release', theirs)).toMatch(/: an ordinary lease now\nnote: /);
    await until('the owner to keep it', async () => {
      const { lease } = await other.get<StatusJson>('/v1/status');
      return lease.state === 'held' && lease.lease?.reservation === false && (lease.secondsLeft ?? 99) <= 30;
    });
    // In place: another port, at once and everywhere.
    const file = join(host.dir, 'config.json');
    writeFileSync(
      file,
      JSON.stringify({ Network: '10.42.0.0/16', Backend: { Type: 'vxlan', DirectRouting: false } }),
    );
    expect(await ok('config', 'set', file)).toMatch(
      /^\+ Backend\.DirectRouting: false\nrunning daemons apply it at once\nset: /,
    );
  });
  await until(
    'the watch to have told',
    () =>
      changes().filter((c) => c.change === 'changed' && c.lease.key === theirs.replace('/', '-')).length >= 2,
  );
  expect(changes().every((c) => ['present', 'changed'].includes(c.change))).toBe(true);
  for (const h of cluster.hosts) expect((await h.get<StatusJson>('/v1/status')).ready).toBe(true);

  const refused = await run('leases', 'reserve', own, '--node', node);
  expect(refused).toMatchObject({
    code: EXIT.failure,
    out: '',
    err: expect.stringMatching(/is taken by node/),
  });
  writeFileSync(
    join(host.dir, 'narrow.json'),
    '{"Network":"10.42.0.0/16","SubnetLen":25,"Backend":{"Type":"vxlan"}}',
  );
  const narrow = await run('config', 'set', join(host.dir, 'narrow.json'));
  expect(narrow).toMatchObject({ code: EXIT.failure, err: expect.stringMatching(/--force/) });
  expect(narrow.out).toMatch(/\norphans 3 leases:\n(?: {2}10\.42\..*another length.*\n){3}/);
  writeFileSync(
    join(host.dir, 'wrong.json'),
    '{"Network":"10.42.0.0/16","Backend":{"Type":"vxlan","VNI":-1}}',
  );
  for (const command of ['validate', 'set'])
    expect((await run('config', command, join(host.dir, 'wrong.json'))).code).toBe(EXIT.config);

  // What a daemon that hung was asked by somebody who has given up is not done when it goes on.
  const { pid } = await host.get<StatusJson>('/v1/status');
  process.kill(pid, 'SIGSTOP');
  try {
    const body = { subnet: '10.42.250.0/24', node: '192.0.2.250' };
    const asking = ask(join(host.runDir, FILES.controlSocket), '/v1/reservations', { body, timeout: 300 });
    await expect(asking).rejects.toThrow(/no answer/);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  expect(await ok('leases', 'reserve', '10.42.251.0/24', '--node', '192.0.2.250')).toMatch(/: reserved/);
  expect(await ok('leases', '--source=etcd')).not.toContain('10.42.250.0/24');
});

test.concurrent('operators see what is broken: a peer, etcd, the kernel, the daemon', async () => {
  await using cluster = await Cluster.start(3, { args: ['--probe-interval', '500ms'] });
  const [host, , lost] = cluster.hosts as [Host, Host, Host];
  const { run, ok, json, start } = operator(cluster, host);
  const theirs = await subnetOf(lost);
  await until(
    'all peers to be reached',
    async () => (await json<StatusJson>('status')).paths.reachable === 2,
  );
  await using followed = await start('events.log', 'events', '--follow', '--kind=path', '--kind=store');

  const heal = await cluster.underlay.cut(host.at, lost.at);
  await until(
    'the peer to be unreachable',
    async () => (await json<StatusJson>('status')).paths.unreachable === 1,
    30_000,
  );
  const table = (await ok('peers')).split('\n');
  expect(table[1]).toMatch(new RegExp(`^${theirs.replaceAll('.', '\\.')} +192\\.0\\.2\\.\\d+ +unreachable `));
  expect(await ok('status')).toMatch(/\npeers +1 of 2 reachable, 1 unreachable\n/);
  await until('the event', () => followed.output().includes(' path '));

  // A route that somebody holds away: in the way, in the kernel's words or ours.
  await host.netns.run(['ip', 'route', 'del', theirs]);
  await until('the repair', async () => /\nrepairs +\d+ route/.test((await run('status')).out));

  await cluster.etcd.stop();
  await until(
    'etcd to be missed',
    async () => /\netcd +.*(refused|no answer|unavailable|reset)/i.test((await run('status')).out),
    30_000,
  );
  expect(await run('leases', 'show', theirs)).toMatchObject({ code: 0 });
  for (const args of [
    ['leases', '--source=etcd'],
    ['leases', '--watch', '--source=etcd'],
    ['leases', 'reserve', theirs, '--node', '192.0.2.99'],
    ['config', 'show', '--source=etcd'],
  ]) {
    const { code, out, err } = await run(...args);
    expect([code, out], args.join(' ')).toEqual([EXIT.unavailable, '']);
    expect(err).toMatch(/etcd at http:/);
  }

  await host.stop('SIGKILL');
  for (const args of [
    ['status'],
    ['peers'],
    ['events'],
    ['metrics'],
    ['leases', 'show', theirs, '--source=daemon'],
    ['config', 'show', '--source=daemon'],
  ]) {
    const { code, out, err } = await run(...args);
    expect([code, out], args.join(' ')).toEqual([EXIT.unavailable, '']);
    expect(err).toMatch(/no loden daemon answers on /);
  }
  await until('the follower to miss it', () =>
    /no loden daemon answers|following .*; trying again/.test(followed.output()),
  );
  await heal();

  // A daemon that waits for etcd says so: not ready is exit 1.
  await host.start({ wait: false });
  await until('it to answer', async () => (await run('status')).code !== EXIT.unavailable);
  const waiting = await run('status');
  expect([waiting.code, waiting.out]).toEqual([EXIT.failure, expect.stringMatching(/^ready +no: /)]);
  await cluster.etcd.start();
  await host.ready();
  expect((await run('status')).code).toBe(EXIT.ok);
  // What goes on has gone on.
  await until(
    'the follower to be back',
    () => /\binfo +store\b|\bconnected\b/.test(followed.output().split('trying again').at(-1)!),
    20_000,
  );
});

test.concurrent('without a daemon the same is done straight in etcd', async () => {
  await using cluster = await Cluster.create({ backend: { Type: 'udp' } });
  const host = await cluster.addHost();
  const { run, ok, json, start } = operator(cluster, host);
  await cluster.etcd.put(
    '/coreos.com/network/subnets/10.42.9.0-24',
    '{"PublicIP":"192.0.2.200"}',
    await cluster.etcd.grant(600),
  );
  // flannel's udp says no backend: the network's is shown, JSON says null.
  expect(await ok('leases')).toMatch(
    /\n +10\.42\.9\.0\/24 +192\.0\.2\.200 +udp +- +lease\n1 lease at revision \d+, from etcd\n/,
  );
  expect((await json<LeasesJson>('leases')).leases[0]?.backend).toBeNull();
  await using watch = await start('watch.log', 'leases', '--watch');
  await watch.saying(/1 lease at revision/);
  expect(await ok('leases', 'reserve', '10.42.9.0/24', '--node', '192.0.2.200')).toMatch(/a reservation now/);
  expect(await json('leases', 'release', '10.42.9.0/24')).toMatchObject({
    done: 'released',
    lease: { reservation: false },
  });
  await watch.saying(/ changed 10\.42\.9\.0\/24 .* reservation\n[\s\S]* changed 10\.42\.9\.0\/24 .* lease\n/);
  expect(await run('leases', 'release', '10.42.9.0/24', '--force')).toMatchObject({
    code: 0,
    out: expect.stringMatching(/: deleted\n/),
  });
  expect((await run('leases', 'show', '10.42.9.0/24')).err).toMatch(
    /no lease of "10\.42\.9\.0\/24" is in etcd/,
  );
  expect(await ok('config', 'show')).toMatch(
    /"Type": "udp"[\s\S]*\/coreos\.com\/network\/config, from etcd\n$/,
  );
  await cluster.etcd.delete('/coreos.com/network/config');
  expect(await run('config', 'show')).toMatchObject({
    code: EXIT.failure,
    err: expect.stringMatching(/there is no network config/),
  });
});
