import { ServiceHost } from './cniService.ts';
import type { Netns } from './netns.ts';

/** Adds and deletes container c1, and is killed at a step: argv is the node's namespace, its directory, the step, the pod's namespace. */
const [path, dir, at, pod] = process.argv.slice(2) as [string, string, string, string];
const host = new ServiceHost({ path } as Netns, dir);
await host.open({
  step: (name) => {
    if (name === at) process.kill(process.pid, 'SIGKILL');
  },
});
console.log(JSON.stringify(await host.ask('ADD', { id: 'c1', netns: pod })));
console.log(JSON.stringify(await host.ask('DEL', { id: 'c1', netns: pod })));
