// Run in a host's namespace by probes.ts, with the options the daemon runs with: probes N peers and says on standard output what that costs, a line of
// JSON for each phase. Waits for a line on standard input before the phase in which nobody answers. CPU is that of the whole process, helper thread and
// kernel's work on its behalf included.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { addr } from '../dist/net/addr.js';
import { Prober } from '../dist/probe/prober.js';

// Probing holds no event loop.
setInterval(() => {}, 3_600_000);
const [count, interval, seconds] = process.argv.slice(2).map(Number);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};
const heap = () => {
  globalThis.gc();
  return process.memoryUsage().heapUsed / 1e6;
};

/** What a second of it costs, over some time. */
async function rate(prober, ms) {
  const before = { cpu: cpu(), sent: prober?.counters.sent ?? 0, at: performance.now() };
  await sleep(ms);
  const s = (performance.now() - before.at) / 1_000;
  return {
    cpuPercent: (100 * (cpu() - before.cpu)) / s,
    packetsPerSecond: ((prober?.counters.sent ?? 0) - before.sent) / s,
  };
}

const targets = Array.from({ length: count }, (_, i) => ({
  key: `10.${64 + (i >> 8)}.${i & 255}.0-24`,
  family: 4,
  addr: addr(`10.${64 + (i >> 8)}.${i & 255}.0`),
  mtu: 1450,
  dev: 'vx0',
  offloads: true,
  via: addr('192.0.2.1'),
}));
const idle = await rate(undefined, 5_000);
const before = heap();
const prober = new Prober({ interval });
const at = performance.now();
const cpuBefore = cpu();
// The rest is taken in by slices as long as this first one.
void prober.setTargets(targets);
const setTargetsMs = performance.now() - at;
const reachable = () => {
  let n = 0;
  for (const { fullSize } of prober.paths.values()) if (fullSize === 'passes') n++;
  return n;
};
while (reachable() < count) await sleep(1_000);
say({
  phase: 'first',
  setTargetsMs,
  seconds: (performance.now() - at) / 1_000,
  cpuSeconds: cpu() - cpuBefore,
  packets: prober.counters.sent,
});
say({
  phase: 'steady',
  sample: prober.sample,
  idleCpuPercent: idle.cpuPercent,
  ...(await rate(prober, seconds * 1_000)),
});
say({ phase: 'memory', heapMB: heap() - before });

/** Round trips as reported, milliseconds, of the first paths; `elapsed`: as JavaScript sees them, from asking to answer, for a single packet. */
async function trips(n) {
  const rtts = [];
  for (let i = 0; i < n; i++) rtts.push((await prober.probeNow(`${targets[i % count].key} 4`)).rtt);
  return rtts.sort((a, b) => a - b);
}
const quiet = await trips(100);
// A busy event loop: 40 of each 50 ms.
const busy = setInterval(() => {
  const end = performance.now() + 40;
  while (performance.now() < end);
}, 50);
const loaded = await trips(20);
clearInterval(busy);
const middle = (values) => values[values.length >> 1];
say({
  phase: 'trips',
  quietMs: { median: middle(quiet), p95: quiet[Math.floor(quiet.length * 0.95)] },
  busyLoopMs: { median: middle(loaded), p95: loaded[Math.floor(loaded.length * 0.95)] },
});
await once(process.stdin, 'data');
// Until as many are known to be away as are asked in each round.
await sleep(3 * interval);
say({ phase: 'away', ...(await rate(prober, seconds * 1_000)) });
await prober.stop();
process.exit(0);
