import { Cluster, type ClusterOptions } from './cluster.ts';
import { Containerd } from './containerd.ts';
import type { Pod } from './criPod.ts';
import type { Host } from './host.ts';
import { imageArchive } from './images.ts';
import { measureLoss } from './loss.ts';
import { lodenConfig } from './plugin.ts';
import { RuntimeDir } from './runtimeDir.ts';

/** The network `pods` of a host: our plugin, and portmap behind it. `more` is put over our plugin's configuration. */
export function podNetwork(host: Host, more: Readonly<Record<string, unknown>> = {}) {
  const { cniVersion, name, ...plugin } = lodenConfig(host, more);
  return {
    cniVersion,
    name,
    plugins: [plugin, { type: 'portmap', capabilities: { portMappings: true } }],
  };
}

/** A cluster whose hosts have containerd, with {@link podNetwork}: `await using kubelets = await CriCluster.start(2)`. */
export class CriCluster implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly nodes: readonly Containerd[];
  readonly #stack: AsyncDisposableStack;

  private constructor(cluster: Cluster, nodes: readonly Containerd[], stack: AsyncDisposableStack) {
    this.cluster = cluster;
    this.nodes = nodes;
    this.#stack = stack;
  }

  static async start(hosts: number, options: ClusterOptions = {}): Promise<CriCluster> {
    await using stack = new AsyncDisposableStack();
    const images = stack.use(RuntimeDir.create('images'));
    const archive = await imageArchive(images.path);
    const cluster = stack.use(await Cluster.start(hosts, options));
    const nodes: Containerd[] = [];
    for (const host of cluster.hosts) nodes.push(stack.use(await Containerd.start(host, archive)));
    for (const node of nodes) await node.configure(podNetwork(node.host));
    return new CriCluster(cluster, nodes, stack.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/**
 * Something happens while numbered datagrams go both ways between every two of these pods that follow each other; resolves to what was
 * lost, doubled or refused, which should be nothing. Throws if nothing arrived at all.
 */
export async function lossesBetween(pods: readonly Pod[], during: () => Promise<unknown>): Promise<object[]> {
  const flows = pods.slice(1).flatMap((pod, i) => [
    { from: pods[i]!, to: pod },
    { from: pod, to: pods[i]! },
  ]);
  const losses: object[] = [];
  const measure = async (n: number): Promise<void> => {
    const flow = flows[n];
    if (!flow) {
      await during();
      return;
    }
    const [from, to] = [await flow.from.netns(), await flow.to.netns()];
    const { dir } = flow.to.node.host;
    const loss = await measureLoss(from, to, flow.to.ip, {
      dir,
      port: 5300 + n,
      during: () => measure(n + 1),
    });
    const { lost, doubled, errors, ended, received } = loss;
    if (received === 0) throw new Error(`nothing arrived at ${flow.to.ip} from ${flow.from.ip}`);
    const faultless = lost === 0 && doubled === 0 && ended && Object.keys(errors).length === 0;
    if (!faultless) losses.push({ from: flow.from.ip, to: flow.to.ip, ...loss });
  };
  await measure(0);
  return losses;
}
