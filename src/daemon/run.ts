import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { Attacher } from '../cni/attach/attacher.ts';
import { CniService } from '../cni/service.ts';
import { thisBoot } from '../cni/sweep.ts';
import type { RunOptions } from '../config/run.ts';
import { VERSION } from '../contract.ts';
import { Forwarder } from '../forwarder/forwarder.ts';
import { forwarderJson } from '../forwarder/stats.ts';
import { Firewall } from '../kernel/firewall.ts';
import { NetlinkKernel } from '../kernel/netlinkKernel.ts';
import { Observer } from '../kernel/observer.ts';
import { Reconciler } from '../kernel/reconciler.ts';
import { addon } from '../native/addon.ts';
import type { Identity } from '../subnet/api.ts';
import { StateDir } from '../subnet/stateDir.ts';
import { EtcdStore } from '../subnet/store.ts';
import { readSubnetEnv } from '../subnet/subnetEnv.ts';
import { Daemon } from './daemon.ts';
import { endpointAddrs } from './endpoints.ts';
import { EventLog } from './events/log.ts';
import { Handover } from './handover.ts';
import { HostWatch } from './hostWatch.ts';
import { Lifetimes } from './lifetimes.ts';
import { ChangeLog, type Logger, openLog } from './log.ts';
import { MacBook } from './macBook.ts';
import { derivedMac } from './macs.ts';
import { Notifier } from './notify.ts';
import { serveOperators } from './operators.ts';
import { countPaths } from './pathCounts.ts';
import { PathWatch } from './pathWatch.ts';
import { openProbing } from './probing.ts';
import { stopSignal } from './signals.ts';
import { statusJson } from './status.ts';
import { SubnetFile } from './subnetFile.ts';
import { countNothing, countTraffic } from './traffic.ts';
import { Watch } from './watch.ts';

/**
 * `loden run`: the composition root. Opens everything, runs until a signal or a fatal error, closes everything in
 * reverse. The data path and the lease stay as they are.
 */
export async function runDaemon(options: RunOptions, env: NodeJS.ProcessEnv): Promise<void> {
  const { log, flush } = openLog(options.log);
  try {
    await using stack = new AsyncDisposableStack();
    await compose(options, env, log, stack);
    log.info('stopped; what was put into the kernel stays');
  } catch (err) {
    log.fatal({ err }, 'the daemon ends');
    throw err;
  } finally {
    flush();
  }
}

async function compose(
  options: RunOptions,
  env: NodeJS.ProcessEnv,
  log: Logger,
  stack: AsyncDisposableStack,
): Promise<void> {
  const startedAt = new Date();
  log.info({ version: VERSION, pid: process.pid, node: process.version }, 'loden starts');
  for (const note of options.notes) log.warn({ note }, 'option');
  const events = new EventLog(randomBytes(8).toString('hex'));
  const watch = new Watch(log, events);
  events.note({ level: 'info', kind: 'daemon', message: 'started', fields: { version: VERSION } });
  const stop = stack.use(stopSignal(log));

  // The first to begin and the last to end: packets wait for nothing that follows, and who takes over for nothing else.
  await mkdir(options.runDir, { recursive: true, mode: 0o755 });
  const forwarder = new Forwarder({
    native: addon(),
    runDir: options.runDir,
    network: options.etcd.prefix,
    onNote: watch.forwarder,
  });
  const handover = new Handover({ options, env, log, stop, forwarder });
  stack.defer(() => handover.end());
  stack.defer(() => forwarder.stop());
  await handover.take();

  const state = stack.use(
    await StateDir.open(options.stateDir, (err) =>
      log.error({ err }, 'cannot write the state directory: a reboot will have forgotten the last lease'),
    ),
  );
  handover.listen();
  stack.defer(() => handover.close());
  await handover.resume();
  const identity: Identity = {
    get node() {
      return state.node;
    },
    instance: events.instance,
    renew: async () => {
      const node = await state.renewNode();
      macs.renew();
      daemon.kick();
      return node;
    },
  };
  const news = new ChangeLog();
  const notifier = new Notifier(env);
  stack.defer(() => notifier.stopping());

  const kernel = NetlinkKernel.open({ txChecksums: true });
  stack.defer(() => kernel.close());
  const observer = new Observer(kernel, {
    onError: (err) =>
      news.changed('observe', String(err)) && log.error({ err }, 'cannot read the kernel; will try again'),
  });
  stack.defer(() => observer.stop());
  const reconciler = new Reconciler(observer, {
    onStatus: () => daemon.kick(),
    onPass: watch.pass,
    onError: (err) =>
      news.changed('reconcile', String(err)) &&
      log.error({ err }, 'cannot program the kernel; will try again'),
  });
  stack.defer(() => reconciler.stop());
  const firewall = new Firewall({
    log,
    onChange: (status) => {
      watch.firewall(status);
      daemon.kick();
    },
  });
  stack.defer(() => firewall.stop());
  const macs = new MacBook({
    remembered: state.macs,
    existing: (device) => observer.state.link(device),
    derive: (device) => derivedMac(identity.node, device),
    remember: (all) => state.rememberMacs(all),
  });
  const paths = new PathWatch({
    log,
    note: events.note,
    state: observer.state,
    runDir: options.runDir,
    interval: options.probeInterval,
    onChange: () => daemon.kick(),
  });
  stack.defer(() => paths.end());
  await paths.restore();
  const etcd = { ...options.etcd, onRequest: watch.requests.note };
  const store = stack.use(new EtcdStore({ ...etcd, onReport: watch.store }));
  const daemon = new Daemon(
    {
      options,
      log,
      news,
      notifier,
      store,
      identity,
      previous: [...(await readSubnetEnv(options.subnetFile)).subnets, ...state.subnets],
      observer,
      reconciler,
      firewall,
      forwarder,
      paths,
      hostWatch: new HostWatch({
        observer,
        wish: options.uplink,
        wayTo: (to) => kernel.wayTo(to),
        mac: (device) => macs.of(device),
        reserved: endpointAddrs(options.etcd.endpoints),
      }),
      subnetFile: new SubnetFile(options.subnetFile),
      remember: (lease) => state.rememberSubnets(lease.subnets),
      stack,
    },
    stop.abort,
  );
  forwarder.onChange(() => daemon.kick());
  const attacher = Attacher.open();
  stack.defer(() => attacher.close());
  const cni = await CniService.open({
    stateDir: options.stateDir,
    subnetFile: options.subnetFile,
    engine: attacher,
    node: () => daemon.nodeState(),
    log,
    boot: await thisBoot(() => addon().bootTimeMs()),
  });
  stack.defer(() => cni.close());
  daemon.onConverged(() => {
    cni.nodeChanged();
    watch.converged(daemon, forwarder, cni);
  });
  const probing = openProbing({
    log,
    note: events.note,
    interval: options.probeInterval,
    heard: (report) => paths.heard(report),
  });
  stack.defer(() => probing.stop());
  paths.attach(probing);
  const lifetimes = new Lifetimes({
    leases: () => daemon.snapshot?.leases,
    ask: (etcdLease) => store.timeToLive(etcdLease),
  });
  stack.defer(() => lifetimes.stop());
  const traffic = options.peerCounters ? stack.use(countTraffic(daemon, observer.state)) : countNothing();
  const context = {
    cni: () => cni.json(),
    problems: () => [
      ...daemon.problems(),
      ...paths.problems(),
      ...cni.problems(),
      ...(traffic.problem === null ? [] : [traffic.problem]),
    ],
    node: () => identity.node,
    instance: identity.instance,
    startedAt,
    subnetFile: options.subnetFile,
    paths: () => countPaths(probing, paths),
    kernel: () => reconciler.status(),
    forwarder: () => forwarderJson(forwarder, addon()),
    netlinkMessages: () => kernel.socket.counters.messages,
    clock: () => addon().bootTimeMs(),
  };
  // It answers before etcd does: that is when people ask.
  await serveOperators(
    {
      options,
      etcd,
      log,
      daemon,
      reconciler,
      forwarder,
      cni,
      events,
      watch,
      startedAt,
      probing,
      reactions: paths,
      lifetimes,
      traffic,
      status: () => statusJson(daemon, context),
    },
    stack,
  );
  try {
    await daemon.run(stop.signal);
  } catch (e) {
    // The other loops end too, before what they use is closed.
    stop.abort(e);
  }
  events.note({ level: 'info', kind: 'daemon', message: 'stopping; what is in the kernel stays' });
  if (stop.cause() !== undefined) throw stop.cause();
}
