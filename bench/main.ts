import { cni } from './cni.ts';
import { controlPlane } from './controlPlane.ts';
import { datapath } from './datapath.ts';
import { leases } from './leases.ts';
import { peerCounters } from './peerCounters.ts';
import { probes } from './probes.ts';

/** Each benchmark takes its own arguments; all know `--json` and `--help`. */
const BENCHES: Readonly<Record<string, { about: string; run: (argv: string[]) => Promise<void> }>> = {
  cni: {
    about:
      'attaching and detaching pods, by our plugin and by bridge and host-local: times, CPU, many at once',
    run: cni,
  },
  'control-plane': {
    about: 'a daemon among thousands of peers: time to the kernel, messages, requests, memory, CPU',
    run: controlPlane,
  },
  datapath: {
    about:
      "plain routing, kernel VXLAN, the udp backend and a forwarder in flannel's design: throughput, packets, round trips, CPU",
    run: datapath,
  },
  'peer-counters': {
    about: 'what it costs the data path to count packets to and from each peer, by the ways there are for it',
    run: peerCounters,
  },
  leases: {
    about: '`loden leases --json` of thousands of leases, by the daemon and straight from etcd: time',
    run: leases,
  },
  probes: {
    about: 'probing paths to thousands of peers: CPU, packets, memory, round trips',
    run: probes,
  },
};

const USAGE = `npm run bench -- <benchmark> [options]

${Object.entries(BENCHES)
  .map(([name, { about }]) => `  ${name.padEnd(16)} ${about}`)
  .join('\n')}

  --help after its name shows a benchmark's options.
`;

const [name, ...argv] = process.argv.slice(2);
const bench = name === undefined ? undefined : BENCHES[name];
if (!bench) {
  const asked = name === undefined || name === '--help' || name === '-h';
  (asked ? process.stdout : process.stderr).write(asked ? USAGE : `bench: there is no ${name}\n\n${USAGE}`);
  process.exitCode = asked ? 0 : 64;
} else {
  try {
    await bench.run(argv);
  } catch (error) {
    process.stderr.write(`bench ${name}: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
