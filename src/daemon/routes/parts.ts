import type { StatusJson } from '../../api/shapes.ts';
import type { CniService } from '../../cni/service.ts';
import type { RunOptions } from '../../config/run.ts';
import type { Forwarder } from '../../forwarder/forwarder.ts';
import type { Reconciler } from '../../kernel/reconciler.ts';
import type { Probing } from '../../probe/types.ts';
import type { StoreOptions } from '../../subnet/api.ts';
import type { Daemon } from '../daemon.ts';
import type { EventLog } from '../events/log.ts';
import type { Lifetimes } from '../lifetimes.ts';
import type { Reactions } from '../reactions/reactions.ts';
import type { Traffic } from '../traffic.ts';

/** What the resources of the control API are made from. All of it is asked when somebody asks. */
export interface RouteParts {
  readonly options: RunOptions;
  /** How etcd is asked; whatever is, is counted. */
  readonly etcd: StoreOptions;
  readonly daemon: Daemon;
  readonly reconciler: Reconciler;
  readonly forwarder: Forwarder;
  readonly cni: CniService;
  readonly events: EventLog;
  readonly probing: Probing;
  readonly reactions: Reactions;
  readonly traffic: Traffic;
  readonly lifetimes: Pick<Lifetimes, 'text'>;
  /** `GET /v1/status` */
  readonly status: () => StatusJson;
}
