// Preloaded into a daemon (NODE_OPTIONS=--import=…): notes whenever the event loop was not served for more than 5 ms, and
// writes that as JSON `[{ "at": milliseconds since the epoch, "ms": duration }, …]` to $LOOP_PROBE_FILE when the process ends.
import { writeFileSync } from 'node:fs';

const EVERY = 1;
const stalls = [];
let last = performance.now();
setInterval(() => {
  const now = performance.now();
  const ms = now - last - EVERY;
  if (ms > 5) stalls.push({ at: performance.timeOrigin + last, ms });
  last = now;
}, EVERY).unref();
process.on('exit', () => writeFileSync(process.env.LOOP_PROBE_FILE, JSON.stringify(stalls)));
