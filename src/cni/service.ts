import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CNI } from '../contract.ts';
import { formatPrefix, type Prefix, samePrefix } from '../net/prefix.ts';
import { add } from './add.ts';
import { check } from './check.ts';
import type { CniLog, Context } from './context.ts';
import { Counters } from './counters.ts';
import { del } from './del.ts';
import { type DelegateRunner, runDelegate } from './delegates.ts';
import { DelQueue } from './drain.ts';
import type { Engine } from './engine.ts';
import { CniError, CODE } from './errors.ts';
import { flannelAdd, flannelCheck, flannelDel } from './flannelCalls.ts';
import { FlannelGc } from './flannelGc.ts';
import { gc } from './gc.ts';
import { Hold } from './hold.ts';
import { inUse } from './inUse.ts';
import { Ipam } from './ipam/ipam.ts';
import { KeyedMutex } from './mutex.ts';
import { failure } from './protocol/failure.ts';
import { type Request, readRequest } from './protocol/request.ts';
import { versionAnswer } from './protocol/version.ts';
import { networkOf } from './queueFiles.ts';
import { keyOf, Records } from './records.ts';
import { Recovery } from './recovery.ts';
import { staleAttachments, staleName, staleWarning } from './stale.ts';
import { attachmentJson, type CniStatus } from './status.ts';
import type { Boot } from './sweep.ts';
import type { Command, NodeState, PluginAnswer, PluginCall } from './types.ts';

/** Milliseconds that calls under way have at the end. */
const GRACE = 5_000;
/** Milliseconds of it that there are at least after the socket is closed. */
const LAST_GRACE = 500;
/** Milliseconds after the start in which calls wait for the node's network; well below what the plugin waits. */
const HOLD = 8_000;
/** Milliseconds a call waits for queued DELs of its attachment. */
const OWN_QUEUE = 15_000;

export interface CniParts {
  readonly stateDir: string;
  readonly subnetFile: string;
  readonly engine: Engine;
  readonly node: () => NodeState;
  readonly log: CniLog;
  readonly boot: Boot;
  readonly ipam?: Ipam;
  readonly runDelegate?: DelegateRunner;
  readonly step?: (name: string) => unknown;
  /** Milliseconds; {@link HOLD} if absent. */
  readonly hold?: number;
}

/**
 * The plugin's server side: answers calls, and cleans up at its start what earlier lives have left. All it decides by is what is on disk
 * and in the kernel, so that it may be killed at any moment.
 */
export class CniService {
  readonly #parts: CniParts;
  readonly #ctx: Context;
  readonly #counters = new Counters();
  readonly #gc = new FlannelGc();
  readonly #queue: DelQueue;
  readonly #hold: Hold;
  readonly #running = new Set<Promise<unknown>>();
  /** Resolves when what earlier lives have left is cleaned up, as far as can be. */
  #recovered: Promise<void> = Promise.resolve();
  readonly #recovery: Recovery;
  #ending = false;
  #deadline: number | undefined;
  readonly #end = new AbortController();
  #stale: ReadonlySet<string> = new Set();
  #subnets: readonly Prefix[] = [];

  private constructor(parts: CniParts, records: Records) {
    const { engine, node, log, subnetFile, step } = parts;
    const delegates = parts.runDelegate ?? runDelegate;
    this.#parts = parts;
    this.#ctx = {
      ipam: parts.ipam ?? new Ipam(join(parts.stateDir, CNI.spares)),
      records,
      engine,
      mutex: new KeyedMutex(),
      node,
      subnetFile,
      delegates,
      boot: parts.boot.id,
      ending: this.#end.signal,
      log,
      step,
    };
    this.#hold = new Hold(parts.hold ?? HOLD);
    this.#recovery = new Recovery(this.#ctx, parts.boot, parts.stateDir);
    this.#queue = new DelQueue({
      dir: join(parts.stateDir, CNI.delQueue),
      handle: (call, queuedAt) => this.handle(call, queuedAt),
      runDelegate: delegates,
      log,
    });
  }

  /** Read the attachments and begin to clean up, which nobody waits for. Throws {@link CniError}. */
  static async open(parts: CniParts): Promise<CniService> {
    const { log, stateDir } = parts;
    const records = await Records.open(join(stateDir, CNI.attachments), (file, reason) =>
      log.error(
        { file, reason },
        'an attachment cannot be read: set aside; its pod keeps its address until it is deleted',
      ),
    );
    const service = new CniService(parts, records);
    for (const { attachment: a } of records.all()) {
      service.#ctx.ipam.adopt(
        a,
        a,
        a.addresses.map(({ address }) => address.addr),
      );
    }
    service.#recovered = service.#recovery.run().then(() => service.#queue.start());
    return service;
  }

  /** Resolves when the start's cleaning is over. */
  get recovered(): Promise<void> {
    return this.#recovered;
  }

  /** What a call gets. Never throws: what goes wrong is an error the runtime is told. */
  async handle(call: PluginCall, queuedAt?: number): Promise<PluginAnswer> {
    const start = performance.now();
    const began = Date.now();
    let command: Command | 'other' = 'other';
    let code: number | undefined;
    const work = (async (): Promise<PluginAnswer> => {
      if (this.#ending) throw new CniError(CODE.tryAgainLater, 'the loden daemon is stopping; try again');
      const request = readRequest(call);
      command = request.command;
      // A call of an attachment must not meet the cleaning up of that very attachment half done.
      if (!this.#recovery.isDone && queuedAt === undefined && command !== 'VERSION')
        await this.#recoveredSoon();
      if (queuedAt === undefined && call.delegated === undefined) await this.#awaited(request);
      const answer = await this.#answer(request, call, queuedAt);
      if (queuedAt === undefined && answer.kind === 'done' && (command === 'ADD' || command === 'DEL'))
        await this.#outdate(call, began);
      return answer;
    })().catch((error: unknown): PluginAnswer => {
      const told = failure(call, error);
      code = told.code;
      if (told.code === CODE.internal) this.#parts.log.error({ err: error }, 'a call of the plugin fails');
      return { kind: 'error', error: told };
    });
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
      this.#counters.note(command, performance.now() - start, code);
    }
  }

  /** What a call of a runtime waits for before anything else. Throws {@link CniError}. */
  async #awaited(req: Request): Promise<void> {
    const isOther =
      'config' in req && req.config.type === 'flannel' && req.config.subnetFile !== this.#parts.subnetFile;
    if ((req.command === 'STATUS' || req.command === 'ADD') && !isOther && !this.#parts.node().ready)
      await this.#hold.pass();
    if (this.#deadline !== undefined && !this.#parts.node().ready && req.command === 'ADD' && !isOther)
      throw new CniError(CODE.tryAgainLater, 'the loden daemon is stopping; try again');
    if (req.command !== 'ADD' && req.command !== 'DEL') return;
    const queued = this.#queue.before(keyOf(req));
    if (queued === undefined) return;
    const late = sleep(OWN_QUEUE, false, { ref: false });
    if (await Promise.race([queued.then(() => true), late])) return;
    throw new CniError(
      CODE.tryAgainLater,
      `a DEL of interface ${req.ifname} of container ${req.containerId} that came while no daemon ran is still being carried out; try again`,
    );
  }

  /** What was queued for an attachment before a call that has succeeded must not be done after it. */
  async #outdate({ env, stdin }: PluginCall, began: number): Promise<void> {
    if (this.#queue.waiting === 0) return;
    const { CNI_CONTAINERID: containerId = '', CNI_IFNAME: ifname = '' } = env;
    await this.#queue.done(keyOf({ containerId, ifname }), networkOf(stdin), began);
  }

  async #answer(req: Request, call: PluginCall, queuedAt: number | undefined): Promise<PluginAnswer> {
    const ctx = this.#ctx;
    const delegated = call.delegated ?? [];
    switch (req.command) {
      case 'VERSION':
        return { kind: 'done', result: versionAnswer(call.stdin) };
      case 'ADD':
        if (req.config.type === 'flannel') return await flannelAdd(ctx, req, req.config, delegated);
        this.#recovery.uses(req.config.dataDir);
        return { kind: 'done', result: await add(ctx, req, req.config) };
      case 'DEL':
        if (req.problems.length > 0) {
          const { containerId, ifname, network, problems } = req;
          const what = 'a DEL has what is wrong in its configuration, and is done with defaults in its place';
          this.#parts.log.warn({ containerId, ifname, network, problems }, what);
        }
        if (req.config.type === 'flannel')
          return await flannelDel(
            ctx,
            req,
            req.config,
            delegated,
            queuedAt === undefined ? undefined : { call, at: queuedAt },
          );
        await del(ctx, req, req.config, queuedAt);
        return { kind: 'done' };
      case 'CHECK':
        if (req.config.type === 'flannel') return await flannelCheck(req, req.config, delegated);
        await check(ctx, req);
        return { kind: 'done' };
      case 'GC':
        if (req.config.type === 'flannel')
          return await this.#gc.run(ctx, call.stdin, req, req.config, delegated);
        await gc(ctx, req, req.config);
        return { kind: 'done' };
      case 'STATUS':
        return this.#status();
    }
  }

  /** STATUS (spec): can ADD be served? */
  #status(): PluginAnswer {
    const state = this.#parts.node();
    if (!state.ready)
      throw new CniError(CODE.notAvailable, `pods cannot be given addresses now: ${state.reason}`);
    const warning = staleWarning(staleAttachments(this.#ctx));
    return { kind: 'done', ...(warning === undefined ? {} : { warning }) };
  }

  /** The node's lease, or what depends on it, may have changed: look which pods are affected, and say so once. */
  nodeChanged(): void {
    const state = this.#parts.node();
    if (!state.ready) return;
    this.#hold.release();
    this.#tellStale();
    const subnets = state.network.subnets.map((s) => s.subnet);
    const same =
      subnets.length === this.#subnets.length && subnets.every((s, i) => samePrefix(s, this.#subnets[i]!));
    if (same) return;
    this.#subnets = subnets;
    this.#parts.log.info({ subnets: subnets.map(formatPrefix) }, 'pods get addresses of this subnet');
    const records = [...this.#ctx.records.all()];
    this.#ctx.engine
      .settle({
        node: state.network,
        inUse: (subnet) => inUse(this.#ctx, subnet),
        bridges: new Set(records.flatMap((r) => r.attachment.bridge ?? [])),
      })
      .catch((err: unknown) =>
        this.#parts.log.warn({ err }, 'cannot give bridges the gateway of the new subnet'),
      );
    void this.#recovery.know(state.network.subnets.map((s) => s.network));
  }

  /** Who is new among them; that they become fewer is only told when none is left. */
  #tellStale(): void {
    const stale = staleAttachments(this.#ctx);
    const names = new Set(stale.map(staleName));
    const fresh = stale.filter((a) => !this.#stale.has(staleName(a)));
    const warning = staleWarning(fresh);
    if (warning !== undefined)
      this.#parts.log.warn({ pods: fresh.slice(0, 100).map(staleName), all: stale.length }, warning);
    else if (stale.length === 0 && this.#stale.size > 0)
      this.#parts.log.info({}, 'no pod has an address of a former subnet any more');
    this.#stale = names;
  }

  /** What an operator should look at. */
  problems(): string[] {
    const warning = staleWarning(staleAttachments(this.#ctx));
    return [warning, this.#queue.problem].filter((p) => p !== undefined);
  }

  /** Pods with an address of a subnet that this node no longer has, as of the last change of the node. */
  get stale(): readonly string[] {
    return [...this.#stale];
  }

  /** `cni` in `/v1/status`. */
  json(): CniStatus {
    return {
      attachments: this.#ctx.records.size,
      queued: this.#queue.waiting,
      stale: staleAttachments(this.#ctx).slice(0, 100).map(staleName),
      commands: this.#counters.snapshot(),
    };
  }

  /** `/v1/attachments`, in pieces: a node may have a thousand. */
  *attachments(): Generator<string> {
    let first = true;
    yield '[';
    for (const record of [...this.#ctx.records.all()]) {
      if (record.state !== 'attached') continue;
      yield `${first ? '' : ','}${JSON.stringify(attachmentJson(record))}`;
      first = false;
    }
    yield ']\n';
  }

  /** The end begins. Calls that come before the socket is closed are still answered. Idempotent. */
  end(): void {
    this.#deadline ??= performance.now() + GRACE;
    this.#end.abort();
    this.#hold.release();
  }

  /** Let calls under way end, for a while since {@link end}; the rest is taken back at the next start. */
  async close(): Promise<void> {
    this.end();
    this.#ending = true;
    const left = Math.max(LAST_GRACE, this.#deadline! - performance.now());
    const stop = this.#queue.stop();
    await Promise.race([
      Promise.allSettled([...this.#running, this.#recovered, this.#recovery.stop(), stop]),
      sleep(left, undefined, { ref: false }),
    ]);
  }

  async #recoveredSoon(): Promise<void> {
    await Promise.race([this.#recovered, sleep(GRACE, undefined, { ref: false })]);
  }
}
