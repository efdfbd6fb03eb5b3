import { NETLINK_CHUNK } from '../contract.ts';
import { KernelError } from '../errors.ts';
import { ERRNO } from '../netlink/errno.ts';
import type { Message, Request } from '../netlink/message.ts';
import type { NetlinkFailure } from '../netlink/protocol.ts';
import { type IfInfo, type LinkAttributes, rootQdisc } from '../netlink/rtnl.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import { describe } from './desired.ts';
import { encode } from './encode.ts';
import type { Op } from './kernel.ts';
import { finishLink, getLinkByName, readLink } from './link.ts';
import type { Names } from './names.ts';
import type { ObservedLink } from './observed.ts';
import type { TxChecksums } from './offload.ts';
import { silencePort } from './podLink.ts';
import type { SysctlFiles } from './sysctl.ts';
import type { Link, Sysctl } from './types.ts';

export type Refusal = Pick<NetlinkFailure, 'errno' | 'code' | 'extack'>;

type Outcome = KernelError | undefined;

/** What operations go through. */
export interface BatchParts {
  readonly socket: NetlinkSocket;
  readonly names: Names;
  readonly sysctls: SysctlFiles;
  readonly createTun: (name: string) => Promise<Refusal | undefined>;
  /** Absent: what is wished of checksums is passed over. */
  readonly txChecksums: Pick<TxChecksums, 'write'> | undefined;
}

/**
 * Operations on their way to the kernel, in order and in as few exchanges as can be: an exchange is waited for only
 * after a link was made, whose number the next message needs, and before a sysctl that is not written by the socket's thread.
 */
export class Batch {
  readonly #socket: NetlinkSocket;
  readonly #names: Names;
  readonly #sysctls: SysctlFiles;
  readonly #createTun: BatchParts['createTun'];
  readonly #txChecksums: BatchParts['txChecksums'];
  #ops: readonly Op[] = [];
  #results: Outcome[] = [];
  /** Not yet sent, with the operation they belong to; undefined: their failure does not matter. */
  #requests: Request[] = [];
  #owners: (number | undefined)[] = [];
  /** Sent, and not waited for: the socket's thread takes things in order. They settle their own results. */
  readonly #sent: Promise<void>[] = [];
  /** Made just now: the sysctls that follow it come before it is up. */
  #unfinished: { readonly at: number; readonly o: Link; readonly made: ObservedLink } | undefined;
  /** Devices that could not be made. */
  readonly #unmade = new Set<string>();

  constructor(parts: BatchParts) {
    this.#socket = parts.socket;
    this.#names = parts.names;
    this.#sysctls = parts.sysctls;
    this.#createTun = parts.createTun;
    this.#txChecksums = parts.txChecksums;
  }

  /** See {@link ./kernel.ts Kernel.apply}. */
  async run(ops: readonly Op[]): Promise<readonly Outcome[]> {
    this.#ops = ops;
    this.#results = new Array<Outcome>(ops.length);
    for (let at = 0; at < ops.length; ) {
      const op = ops[at]!;
      const { verb, object } = op;
      if (object.kind === 'sysctl') {
        let end = at + 1;
        while (ops[end]?.object.kind === 'sysctl') end++;
        const size = this.#requests.length;
        await this.#inOrder(this.#flush(), size);
        await this.#inOrder(this.#write(at, end), 0);
        at = end;
        continue;
      }
      this.#finish();
      if (!this.#isLost(at)) {
        if (verb === 'create' && object.kind === 'link') await this.#make(at, object);
        else this.#add(at);
        if (op.verb === 'change' && op.change.txChecksum)
          await this.#tellChecksums(at, op.object, op.observed);
      }
      at++;
    }
    this.#finish();
    await this.#flush();
    await Promise.all(this.#sent);
    return this.#results;
  }

  /** What the socket's thread does before all that is sent later need not be waited for. */
  #inOrder(step: Promise<void>, size: number): Promise<void> | undefined {
    if (this.#sysctls.writeAll === undefined || size > NETLINK_CHUNK) return step;
    // Whoever waits for all of them is told.
    step.catch(() => {});
    this.#sent.push(step);
    return undefined;
  }

  /** It would go to whoever has the name of the device that is not there. */
  #isLost(at: number): boolean {
    if (this.#unmade.size === 0) return false;
    const { object } = this.#ops[at]!;
    const dev = object.kind === 'link' ? baseOf(object) : object.dev;
    if (dev === undefined || !this.#unmade.has(dev)) return false;
    this.#refuse(at, { errno: ERRNO.ENODEV!, code: 'ENODEV', extack: `device ${dev} could not be made` });
    return true;
  }

  #refuse(at: number, failure: Refusal): void {
    this.#results[at] ??= refused(this.#ops[at]!, failure);
  }

  /** False: a device it needs is not there. */
  #add(at: number): boolean {
    try {
      for (const request of encode(this.#ops[at]!, this.#names)) this.#push(request, at);
      return true;
    } catch (cause) {
      if (!(cause instanceof KernelError)) throw cause;
      this.#refuse(at, { errno: cause.errno, code: cause.code, extack: `no ${cause.object}` });
      return false;
    }
  }

  #push(request: object, at: number | undefined): void {
    this.#requests.push(request as Request);
    this.#owners.push(at);
  }

  async #flush(onReply?: (reply: Message<unknown, unknown>) => void): Promise<void> {
    if (this.#requests.length === 0) return;
    const owners = this.#owners;
    const requests = this.#requests;
    this.#requests = [];
    this.#owners = [];
    for (const [i, failure] of (await this.#socket.transact(requests, onReply)).entries()) {
      const at = owners[i];
      if (failure && at !== undefined) this.#refuse(at, failure);
    }
  }

  /** The making and the finishing are two exchanges, for the second must not touch whoever else has the name. */
  async #make(at: number, o: Link): Promise<void> {
    const made = o.tun ? await this.#makeTun(at, o.name) : await this.#makeLink(at, o);
    if (!made) {
      this.#unmade.add(o.name);
      return;
    }
    this.#names.set(made.ifindex, made.name);
    this.#ops[at]!.onMade?.(made);
    // The kernel makes all that can with the offload on.
    if (o.vxlan && o.txChecksum === false) await this.#tellChecksums(at, o, made);
    this.#unfinished = { at, o, made };
  }

  async #tellChecksums(at: number, o: Link, { ifindex }: ObservedLink): Promise<void> {
    if (!o.vxlan || o.txChecksum === undefined) return;
    await this.#flush();
    const refusal = await this.#txChecksums?.write(ifindex, o.txChecksum);
    if (refusal) this.#refuse(at, refusal);
  }

  /** What a link is told once it has its sysctls. */
  #finish(): void {
    if (!this.#unfinished) return;
    const { at, o, made } = this.#unfinished;
    this.#unfinished = undefined;
    // What waits, waits in the device's own queues. The kernel's default queues would lie idle, and take 48 MB: three rings of
    // TXQLEN for each of 256 queues (net/sched/sch_generic.c pfifo_fast_init). A kernel that has none refuses this.
    if (o.tun) this.#push(rootQdisc(made.ifindex, 'noqueue'), undefined);
    const silence = silencePort(o, made.ifindex);
    if (silence) this.#push(silence, undefined);
    this.#push(finishLink(o, made.ifindex), at);
  }

  async #makeTun(at: number, name: string): Promise<ObservedLink | undefined> {
    await this.#flush();
    const refusal = await this.#createTun(name);
    if (refusal) this.#refuse(at, refusal);
    const message = refusal ? undefined : await this.#socket.get(getLinkByName(name));
    if (!message && !refusal) this.#refuse(at, { errno: ERRNO.ENODEV!, code: 'ENODEV' });
    return message && readLink(message);
  }

  /** Its number is asked for in the same exchange. */
  async #makeLink(at: number, o: Link): Promise<ObservedLink | undefined> {
    if (!this.#add(at)) return undefined;
    this.#push(getLinkByName(o.name), undefined);
    let found: ObservedLink | undefined;
    await this.#flush((reply) => {
      found = readLink(reply as Message<IfInfo, LinkAttributes>);
    });
    const failure = this.#results[at];
    if (!failure) {
      if (!found) this.#refuse(at, { errno: ERRNO.ENODEV!, code: 'ENODEV', extack: 'it was gone at once' });
      return found;
    }
    if (failure.code === 'EEXIST' && !found && o.veth?.peer) {
      const extack = `its other end cannot be made: there is a device ${o.veth.peer.name} in the namespace of that`;
      this.#results[at] = refused(this.#ops[at]!, { ...failure, extack });
    }
    return undefined;
  }

  async #write(from: number, to: number): Promise<void> {
    const due: number[] = [];
    for (let at = from; at < to; at++) if (!this.#isLost(at)) due.push(at);
    if (due.length === 0) return;
    const sysctls = due.map((at) => this.#ops[at]!.object as Sysctl);
    const failures = await writeAll(this.#sysctls, sysctls);
    for (const [i, failure] of failures.entries()) {
      if (!failure) continue;
      const { code = 'EIO', message } = failure;
      this.#refuse(due[i]!, { errno: ERRNO[code] ?? ERRNO.EIO!, code, extack: message });
    }
  }
}

async function writeAll(
  files: SysctlFiles,
  sysctls: readonly Sysctl[],
): Promise<readonly (NodeJS.ErrnoException | undefined)[]> {
  if (files.writeAll) return files.writeAll(sysctls);
  const failures: (NodeJS.ErrnoException | undefined)[] = [];
  for (const { path, value } of sysctls) {
    try {
      await files.write(path, value);
      failures.push(undefined);
    } catch (cause) {
      failures.push(cause as NodeJS.ErrnoException);
    }
  }
  return failures;
}

/** The device a link stands on. */
function baseOf(o: Link | ObservedLink): string | undefined {
  if ('ifindex' in o) return undefined;
  return o.vxlan?.underlay ?? o.veth?.master;
}

const refused = (op: Op, failure: Refusal): KernelError =>
  new KernelError({
    errno: failure.errno,
    code: failure.code,
    op: `${op.verb} ${op.object.kind}`,
    object: describe(op.object),
    extack: failure.extack,
  });
