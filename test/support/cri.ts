import { fileURLToPath } from 'node:url';
import { credentials, loadPackageDefinition, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

/** A mapping as the kubelet asks for it; protocol TCP. */
export interface PortMapping {
  readonly container_port: number;
  readonly host_port: number;
}

export interface PodConfig {
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string };
  readonly hostname: string;
  readonly log_directory: string;
  readonly port_mappings: readonly PortMapping[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly linux: { readonly cgroup_parent: string };
}

export interface PodStatus {
  readonly status: {
    /** 0 ready, 1 not. */
    readonly state: number;
    readonly network: { readonly ip: string; readonly additional_ips: readonly { readonly ip: string }[] };
  };
  readonly info: Readonly<Record<string, string>>;
}

export interface Executed {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly exit_code: number;
}

export interface Condition {
  readonly type: string;
  readonly status: boolean;
  readonly message: string;
}

/** The calls of the Container Runtime Interface that a kubelet makes about pods. */
interface Calls {
  RunPodSandbox(request: { config: PodConfig }): { pod_sandbox_id: string };
  StopPodSandbox(request: { pod_sandbox_id: string }): object;
  RemovePodSandbox(request: { pod_sandbox_id: string }): object;
  PodSandboxStatus(request: { pod_sandbox_id: string; verbose: boolean }): PodStatus;
  ListPodSandbox(request: object): { items: readonly { id: string; state: number }[] };
  CreateContainer(request: object): { container_id: string };
  StartContainer(request: { container_id: string }): object;
  ExecSync(request: { container_id: string; cmd: readonly string[]; timeout: number }): Executed;
  Status(request: { verbose: boolean }): { status: { conditions: readonly Condition[] } };
}

type Unary = (
  request: unknown,
  options: { deadline: number },
  done: (error: ServiceError | null, answer: unknown) => void,
) => void;

interface Client {
  readonly [call: string]: Unary;
}

const definition = loadSync(fileURLToPath(new URL('cri.proto', import.meta.url)), {
  keepCase: true,
  defaults: true,
  arrays: true,
  objects: true,
});

/** A kubelet's end of the Container Runtime Interface. */
export class Cri implements Disposable {
  readonly #client: Client & { close(): void };

  /** `socket`: path of the runtime's Unix socket, which need not be there yet. */
  constructor(socket: string) {
    const { runtime } = loadPackageDefinition(definition) as unknown as {
      runtime: { v1: { RuntimeService: new (...args: unknown[]) => Client & { close(): void } } };
    };
    this.#client = new runtime.v1.RuntimeService(`unix://${socket}`, credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
      // One that is started again is found at once.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 200,
    });
  }

  /** One call; rejects with the runtime's words, or after `timeout` ms. */
  call<Name extends keyof Calls>(
    name: Name,
    request: Parameters<Calls[Name]>[0],
    timeout = 30_000,
  ): Promise<ReturnType<Calls[Name]>> {
    return new Promise((resolve, reject) => {
      this.#client[name]!(request, { deadline: Date.now() + timeout }, (error, answer) => {
        if (error) reject(new Error(`${name}: ${error.details}`, { cause: error }));
        else resolve(answer as ReturnType<Calls[Name]>);
      });
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
