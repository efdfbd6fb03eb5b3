import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import type { LeaseChangeJson, NetworkChangeJson } from '../../src/api/changes.ts';
import { controlSocket } from '../../src/api/client.ts';
import type { ConfigJson, EventsJson } from '../../src/api/shapes.ts';
import { exitCodeOf, program } from '../../src/cli/program.ts';
import { leasesJson } from '../../src/subnet/json.ts';
import { EVENTS, INSTANCE, NODE, OFFLOAD, PEERS, PROBES, STATUS } from './apiValues.ts';
import { type FakeIo, fakeIo } from './io.ts';
import { peer } from './overlay.ts';

/** Daemons that are fakes, of which some lie, and commands that ask them. */

export type Answer = unknown | ((res: http.ServerResponse, req: http.IncomingMessage) => void);

interface Request {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly body: string;
  readonly headers: http.IncomingHttpHeaders;
}

export interface Ran {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

/** For the tests of one file: a run directory of its own, in which each test may have a daemon. */
export function cliDaemon() {
  let runDir = '';
  let server: http.Server | undefined;
  let requests: Request[] = [];
  const gone = async (): Promise<void> => {
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
    server = undefined;
  };
  beforeEach(async () => {
    runDir = await mkdtemp(join(tmpdir(), 'ld-cli-'));
    requests = [];
  });
  afterEach(async () => {
    await gone();
    await rm(runDir, { recursive: true, force: true });
  });
  return {
    get runDir() {
      return runDir;
    },
    get requests(): readonly Request[] {
      return requests;
    },
    /** End it. */
    gone,
    /** By path without its query; a function answers itself, text is sent as it is, all else as JSON. */
    async daemon(answers: Readonly<Record<string, Answer>>): Promise<void> {
      server = http.createServer(async (req, res) => {
        let body = '';
        for await (const piece of req) body += piece;
        requests.push({ method: req.method, url: req.url, body, headers: req.headers });
        const answer = answers[new URL(req.url!, 'http://x').pathname];
        if (typeof answer === 'function') answer(res, req);
        else if (answer === undefined)
          res.writeHead(404).end('{"error":{"code":"not-found","message":"no such thing"}}');
        else res.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
      });
      await new Promise<void>((resolve) => server!.listen(controlSocket(runDir), resolve));
    },
    /** What a command prints, and its exit code, also that of an error. */
    async run(argv: readonly string[], io: FakeIo = fakeIo()): Promise<Ran> {
      let code: number;
      let error = '';
      try {
        code = await program([...argv, ...(takesRunDir(argv) ? ['--run-dir', runDir] : [])], io);
      } catch (e) {
        code = exitCodeOf(e);
        error = (e as Error).message;
      }
      return { out: io.printed.join(''), err: [...io.warned, error].filter(Boolean).join('\n'), code };
    },
  };
}

const takesRunDir = (argv: readonly string[]): boolean => argv[1] !== 'validate' && argv[0] !== 'completion';

export const LEASES = leasesJson(
  {
    epoch: 0,
    revision: 5n,
    leases: new Map([peer(7, [4], { node: NODE }), peer(9)].map((l) => [l.key, l])),
    setAside: new Map(),
  },
  'daemon',
  peer(7).key,
);
export const EVENTS_ANSWER: EventsJson = { instance: INSTANCE, first: 1, last: 3, events: EVENTS };
export const CONFIG: ConfigJson = {
  options: [],
  network: {
    key: '/k/config',
    config: { Network: '10.5.0.0/16', Backend: { PSK: '[redacted]' } },
    inForce: true,
    problem: null,
  },
};
export const RESERVED: LeaseChangeJson = {
  done: 'reserved',
  key: '10.5.9.0-24',
  lease: LEASES.leases[1]!,
  revision: '6',
  notes: [],
};
export const PLANNED: NetworkChangeJson = {
  key: '/k/config',
  done: 'dry-run',
  revision: '6',
  changes: [{ path: 'Backend.VNI', to: 7 }],
  orphans: [],
  restart: [],
  unknownKeys: [],
  problem: null,
};

/** One in order. */
export const ALL = {
  '/v1/status': STATUS,
  '/v1/probes': { ...PROBES, checksumOffload: OFFLOAD },
  '/v1/peers': PEERS,
  '/v1/leases': LEASES,
  '/v1/events': EVENTS_ANSWER,
  '/v1/config': CONFIG,
  '/v1/reservations': RESERVED,
  '/v1/network': PLANNED,
  '/v1/events/stream': (res: http.ServerResponse) => void res.write(':\n\n'),
  '/metrics': '# HELP a b\n# TYPE a gauge\na{b="c\\"d\\n"} 1\na_inf +Inf\n',
};
