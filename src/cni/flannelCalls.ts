import { isAbsolute } from 'node:path';
import { CNI } from '../contract.ts';
import { isObject } from '../fields.ts';
import { readSmall } from '../subnet/files.ts';
import { nodeNetwork } from './add.ts';
import type { Context } from './context.ts';
import { CniError, CODE } from './errors.ts';
import { type DelegateConfig, delegateConfig, delegateError, NOT_FOUND } from './flannel/delegate.ts';
import { loadScratch, markScratch, removeScratch, type Scratch, saveScratch } from './flannel/scratch.ts';
import { type FlannelEnv, flannelEnvOf, parseFlannelEnv } from './flannel/subnetEnv.ts';
import { ownerText } from './ipam/entry.ts';
import { netnsId } from './netnsId.ts';
import type { FlannelConfig } from './protocol/config.ts';
import type { AddRequest, CheckRequest, DelRequest } from './protocol/request.ts';
import { keyOf } from './records.ts';
import { takeBack } from './release.ts';
import type { AttachmentId, Command, Delegate, DelegateOutcome, PluginAnswer, PluginCall } from './types.ts';

/**
 * Networks of type flannel: another plugin does the work, with the configuration that flannel's plugin would give it. The plugin binary
 * runs it and asks again with what came of it.
 */

export const delegates = (...list: readonly Delegate[]): PluginAnswer => ({
  kind: 'delegates',
  delegates: list,
});

export const ask = (command: Command, config: DelegateConfig, id: Partial<AttachmentId> = {}): Delegate => ({
  plugin: config.type,
  env: {
    CNI_COMMAND: command,
    ...(id.containerId === undefined ? {} : { CNI_CONTAINERID: id.containerId }),
    ...(id.ifname === undefined ? {} : { CNI_IFNAME: id.ifname }),
  },
  config,
});

/** What flannel's plugin reads out of subnet.env: of our own file we know it at first hand. */
async function environment(ctx: Context, { subnetFile }: FlannelConfig): Promise<FlannelEnv> {
  if (subnetFile === ctx.subnetFile) return flannelEnvOf(nodeNetwork(ctx));
  const text = await readSmall(subnetFile);
  if (text !== undefined) return parseFlannelEnv(text, subnetFile);
  throw new CniError(
    CODE.tryAgainLater,
    `there is no ${subnetFile}, which the network's subnetFile names; this daemon writes ${ctx.subnetFile}`,
  );
}

/** Milliseconds after which nobody works any more on an ADD that was begun: the delegate's, its undoing, and what is asked in between. */
export const LONGEST_ADD = 240_000;

/** May its ADD be under way? */
export function isUnderWay(ctx: Context, { state, since, boot }: Scratch): boolean {
  const age = Date.now() - since;
  return state === 'adding' && boot === ctx.boot && age >= 0 && age < LONGEST_ADD;
}

/**
 * ADD: keep the delegate's configuration, run it; if it fails, run its DEL and forget the configuration. Rounds hold nothing
 * in between, so each looks again at what is kept. Throws CniError.
 */
export function flannelAdd(
  ctx: Context,
  req: AddRequest,
  config: FlannelConfig,
  delegated: readonly DelegateOutcome[],
): Promise<PluginAnswer> {
  return ctx.mutex.run(keyOf(req), async () => {
    const [added, undone] = delegated;
    const scratch = own(req, await loadScratch(config.dataDir, req, req.network));
    if (!added) {
      if (scratch) refuseSecond(ctx, req, scratch);
      const made = await makeConfig(ctx, req, config);
      const id = await netnsId(req.netns);
      const netns = id === undefined ? undefined : { path: req.netns, id };
      await saveScratch(config.dataDir, req, made, ctx.boot, netns);
      return delegates(ask('ADD', made));
    }
    // Deleted meanwhile, and perhaps added again, which is not ours to undo.
    if (scratch?.state === 'attached') throw deletedMeanwhile(req);
    const result = added.exit === 0 ? readResult(added) : undefined;
    if (result !== undefined && !(result instanceof CniError) && scratch && !undone) {
      await markScratch(scratch, 'attached');
      return { kind: 'done', result };
    }
    if (!undone) {
      // What has failed after a DEL has nothing to be undone.
      const made = scratch?.config ?? (added.exit === 0 ? await makeConfig(ctx, req, config) : undefined);
      if (made) return delegates(ask('DEL', made));
    }
    // What could not even be run has done nothing that were to be undone.
    const isUndone = undone?.exit === 0 || (added.exit === NOT_FOUND && undone?.exit === NOT_FOUND);
    if (scratch) await (isUndone ? removeScratch(scratch) : markScratch(scratch, 'failed'));
    if (result instanceof CniError) throw result;
    if (result !== undefined) throw deletedMeanwhile(req);
    throw delegateError(scratch?.config.type ?? 'the delegate', 'ADD', added);
  });
}

const makeConfig = async (ctx: Context, req: AddRequest | DelRequest, config: FlannelConfig) =>
  delegateConfig({ network: req.network, config, raw: req.raw }, await environment(ctx, config));

/** What flannel's plugin has kept tells of no interface. */
const own = (id: AttachmentId, scratch: Scratch | undefined): Scratch | undefined =>
  scratch?.id && keyOf(scratch.id) === keyOf(id) ? scratch : undefined;

/** A delegate that is asked twice refuses, and undoing that would end the pod that has the interface. Throws CniError. */
function refuseSecond(ctx: Context, req: AddRequest, scratch: Scratch): void {
  const what = `interface ${req.ifname} of container ${req.containerId}`;
  // Of another boot nothing is left.
  if (scratch.state === 'attached' && (scratch.boot === undefined || scratch.boot === ctx.boot))
    throw new CniError(
      CODE.invalidEnvironment,
      `${what} is attached already, to network ${scratch.config.name}: delete it first`,
    );
  if (isUnderWay(ctx, scratch))
    throw new CniError(CODE.tryAgainLater, `${what} is just being added: delete it first, or wait`);
}

const deletedMeanwhile = ({ containerId, ifname }: AttachmentId): CniError =>
  new CniError(
    CODE.tryAgainLater,
    `interface ${ifname} of container ${containerId} was deleted while it was being added`,
  );

/** A call out of the queue of DELs. */
export interface Queued {
  readonly call: PluginCall;
  /** When it was asked for: milliseconds since the epoch. */
  readonly at: number;
}

/**
 * DEL: by the configuration that was kept; it is forgotten when the delegate has succeeded. What was asked for while no daemon ran
 * (`queued`) is not for what was added later, and the delegate is run here, so that nothing is added meanwhile. Throws CniError.
 */
export function flannelDel(
  ctx: Context,
  req: DelRequest,
  config: FlannelConfig,
  [deleted]: readonly DelegateOutcome[],
  queued?: Queued,
): Promise<PluginAnswer> {
  return ctx.mutex.run(keyOf(req), async () => {
    const { containerId, ifname } = req;
    const scratch = await loadScratch(config.dataDir, req, req.network);
    const isLater = (since: number) => queued !== undefined && since > queued.at;
    if (scratch && isLater(scratch.since)) return { kind: 'done' };
    const record = ctx.records.get(req);
    // Attached when the network was of type loden.
    if (record?.attachment.network === req.network && !isLater(record.since))
      await takeBack(ctx, record.attachment);
    const kept = scratch?.config ?? (deleted ? undefined : await notKept(ctx, req, config, isLater));
    const plugin = kept?.type ?? 'the delegate';
    if (deleted && deleted.exit !== 0) throw delegateError(plugin, 'DEL', deleted);
    if (kept && !deleted) {
      const asked = ask('DEL', withPrevResult(kept, req.raw));
      if (!queued) return delegates(asked);
      const { stderr, ...outcome } = await ctx.delegates(queued.call, asked, ctx.ending);
      if (outcome.exit !== 0) {
        ctx.log.warn({ plugin, stderr, containerId, ifname }, 'the delegate of a queued DEL has failed');
        // Its code is none of this call's: whether trying again helps is not told by it.
        const { message, details } = delegateError(plugin, 'DEL', outcome);
        throw new CniError(CODE.tryAgainLater, message, details);
      }
    }
    if (scratch) await removeScratch(scratch);
    if (kept || deleted) ctx.log.info({ containerId, ifname }, 'a delegate has removed an attachment');
    return { kind: 'done' };
  });
}

/**
 * Nothing is kept: never added, deleted already, or lost, as by flannel's own plugin, which keeps one file for all networks of a container. Only
 * in the last case host-local has an address for it, which the delegate is to give back: with the configuration that an ADD would give it.
 */
async function notKept(
  ctx: Context,
  req: DelRequest,
  config: FlannelConfig,
  isLater: (since: number) => boolean,
): Promise<DelegateConfig | undefined> {
  const { type = 'host-local', dataDir = CNI.dataDir } = config.ipam ?? {};
  if (type !== 'host-local' || typeof dataDir !== 'string' || !isAbsolute(dataDir)) return undefined;
  const at = { dataDir, network: req.network };
  const owner = ownerText(req);
  const entries = (await ctx.ipam.list(at)).filter((e) => e.owner === owner);
  if (entries.length === 0 || entries.some((e) => isLater(e.mtimeMs))) return undefined;
  try {
    return await makeConfig(ctx, req, config);
  } catch (err) {
    await ctx.ipam.drop(at, entries);
    const { containerId, ifname } = req;
    ctx.log.warn(
      { err, containerId, ifname },
      'the delegate of a DEL cannot be known: gave its addresses back',
    );
    return undefined;
  }
}

/** CHECK: the delegate's, with the result that the runtime has. Throws CniError. */
export async function flannelCheck(
  req: CheckRequest,
  config: FlannelConfig,
  [checked]: readonly DelegateOutcome[],
): Promise<PluginAnswer> {
  const scratch = await loadScratch(config.dataDir, req, req.network);
  if (!scratch) {
    throw new CniError(
      CODE.unknownContainer,
      `interface ${req.ifname} of container ${req.containerId} is not attached to network ${req.network}: nothing of it is kept in ${config.dataDir}`,
    );
  }
  if (!checked) return delegates(ask('CHECK', withPrevResult(scratch.config, req.raw)));
  if (checked.exit !== 0) throw delegateError(scratch.config.type, 'CHECK', checked);
  return { kind: 'done' };
}

const withPrevResult = (config: DelegateConfig, raw: AddRequest['raw']): DelegateConfig =>
  raw.prevResult === undefined ? config : { ...config, prevResult: raw.prevResult };

/** A delegate's result goes to the runtime as it is. What is none comes back as an error. */
function readResult({ stdout }: DelegateOutcome): object | CniError {
  let why = 'it is no JSON object';
  try {
    const result: unknown = JSON.parse(stdout);
    if (isObject(result) && result.code === undefined) return result;
    if (isObject(result)) why = `it is an error: ${String(result.msg)}`;
  } catch (cause) {
    why = (cause as Error).message;
  }
  return new CniError(
    CODE.decodingFailure,
    `the delegate has succeeded, but its result cannot be read: ${why}`,
    stdout.slice(0, 500) || undefined,
  );
}
