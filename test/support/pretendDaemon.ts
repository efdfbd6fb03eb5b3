import { pageRoutes } from '../../src/daemon/http/page.ts';
import { servePublic } from '../../src/daemon/http/tcp.ts';
import { PretendCluster } from './pretendCluster.ts';

/**
 * `pretendDaemon.ts PORT NODES`: the page and what it reads, served as a daemon serves it, of a cluster that is made up. On SIGUSR2 a third of
 * it stops answering.
 */
const [port, nodes] = process.argv.slice(2).map(Number) as [number, number];
const cluster = new PretendCluster(nodes);
await servePublic(
  { host: undefined, port },
  { ready: () => true, routes: [...cluster.routes(), ...pageRoutes()] },
);
setInterval(() => cluster.step(), 500);
process.on('SIGUSR2', () => cluster.lose(Math.floor(nodes / 3)));
console.log('serving');
