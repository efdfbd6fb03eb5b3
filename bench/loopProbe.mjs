// Preloaded into a daemon (NODE_OPTIONS=--import=…): notes whenever the event loop was not served for more than 5 ms, and
// writes that as JSON to $LOOP_PROBE_FILE when the process ends: `[{ at, ms, cpuMs }, …]`. `at` is milliseconds since the
// epoch, `ms` the duration, `cpuMs` the CPU time the loop's own thread used in it: what lies between is the machine's.
import { writeFileSync } from 'node:fs';

const EVERY = 1;
const cpu = () => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};
const stalls = [];
let last = performance.now();
let lastCpu = cpu();
setInterval(() => {
  const now = performance.now();
  const used = cpu();
  const ms = now - last - EVERY;
  if (ms > 5) stalls.push({ at: performance.timeOrigin + last, ms, cpuMs: used - lastCpu });
  last = now;
  lastCpu = used;
}, EVERY).unref();
process.on('exit', () => writeFileSync(process.env.LOOP_PROBE_FILE, JSON.stringify(stalls)));
