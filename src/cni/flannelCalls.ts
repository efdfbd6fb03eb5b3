import { readSmall } from '../subnet/files.ts';
import { nodeNetwork } from './add.ts';
import type { Context } from './context.ts';
import { CniError, CODE } from './errors.ts';
import { type DelegateConfig, delegateConfig, delegateError } from './flannel/delegate.ts';
import { listScratch, loadScratch, removeScratch, type Scratch, saveScratch } from './flannel/scratch.ts';
import { type FlannelEnv, flannelEnvOf, parseFlannelEnv } from './flannel/subnetEnv.ts';
import type { FlannelConfig } from './protocol/config.ts';
import type { AddRequest, CheckRequest, DelRequest, GcRequest } from './protocol/request.ts';
import { keyOf } from './records.ts';
import type { AttachmentId, Command, Delegate, DelegateOutcome, PluginAnswer } from './types.ts';

/**
 * Networks of type flannel: another plugin does the work, with the configuration that flannel's plugin would give it. The plugin binary
 * runs it and asks again with what came of it.
 */

/** Delegates of one answer. */
const AT_ONCE = 64;

const delegates = (...list: readonly Delegate[]): PluginAnswer => ({ kind: 'delegates', delegates: list });

const ask = (command: Command, config: DelegateConfig, id: Partial<AttachmentId> = {}): Delegate => ({
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

/** ADD: keep the delegate's configuration, run it; if it fails, run its DEL and forget the configuration. Throws CniError. */
export async function flannelAdd(
  ctx: Context,
  req: AddRequest,
  config: FlannelConfig,
  delegated: readonly DelegateOutcome[],
): Promise<PluginAnswer> {
  const [added, undone] = delegated;
  if (!added) {
    const made = delegateConfig(
      { network: req.network, config, raw: req.raw },
      await environment(ctx, config),
    );
    await saveScratch(config.dataDir, req, made);
    return delegates(ask('ADD', made));
  }
  if (added.exit === 0) return { kind: 'done', result: parseOutput(added) };
  const scratch = await loadScratch(config.dataDir, req, req.network);
  const plugin = scratch?.config.type ?? 'the delegate';
  if (scratch && !undone) return delegates(ask('DEL', scratch.config));
  if (scratch && undone?.exit === 0) await removeScratch(scratch);
  throw delegateError(plugin, 'ADD', added);
}

/** DEL: by the configuration that was kept; it is forgotten when the delegate has succeeded. Throws CniError. */
export async function flannelDel(
  ctx: Context,
  req: DelRequest,
  config: FlannelConfig,
  [deleted]: readonly DelegateOutcome[],
): Promise<PluginAnswer> {
  const scratch = await loadScratch(config.dataDir, req, req.network);
  if (!scratch) return { kind: 'done' };
  if (!deleted) return delegates(ask('DEL', withPrevResult(scratch.config, req.raw)));
  if (deleted.exit !== 0) throw delegateError(scratch.config.type, 'DEL', deleted);
  await removeScratch(scratch);
  ctx.log.info({ containerId: req.containerId, ifname: req.ifname }, 'delegate has removed an attachment');
  return { kind: 'done' };
}

/** CHECK: the delegate's, with the result that the runtime has. Throws CniError. */
export async function flannelCheck(
  _ctx: Context,
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

/** What a GC has asked for so far, by the call: a call names no round, and what is kept changes meanwhile. */
export class FlannelGc {
  readonly #asked = new Map<string, readonly Scratch[]>();

  /** GC: the DEL of each attachment that is not valid. As much as can be is done; then throws CniError with what could not. */
  async run(
    call: string,
    req: GcRequest,
    config: FlannelConfig,
    delegated: readonly DelegateOutcome[],
  ): Promise<PluginAnswer> {
    let asked = delegated.length > 0 ? this.#asked.get(call) : undefined;
    if (!asked) {
      const valid = new Set(req.valid.map(keyOf));
      asked = (await listScratch(config.dataDir, req.network)).filter((s) => s.id && !valid.has(keyOf(s.id)));
    }
    const rest = asked.slice(delegated.length);
    const last = delegated.at(-1);
    // Those that failed are passed over; each costs a round of the eight that the plugin makes.
    const failures = delegated.filter((d) => d.exit !== 0).length;
    if (rest.length > 0 && failures < 6 && (!last || asked.length > 0)) {
      if (this.#asked.size > AT_ONCE) this.#asked.clear();
      this.#asked.set(call, asked);
      return delegates(...rest.slice(0, AT_ONCE).map((s) => ask('DEL', s.config, s.id)));
    }
    this.#asked.delete(call);
    for (const [at, outcome] of delegated.entries()) {
      const scratch = asked[at];
      if (scratch && outcome.exit === 0) await removeScratch(scratch);
    }
    const failed = delegated.findIndex((d) => d.exit !== 0);
    if (failed >= 0)
      throw delegateError(asked[failed]?.config.type ?? 'the delegate', 'DEL', delegated[failed]!);
    return { kind: 'done' };
  }
}

/** A delegate's result goes to the runtime as it is. Throws CniError for what is none. */
function parseOutput({ stdout }: DelegateOutcome): unknown {
  try {
    return JSON.parse(stdout);
  } catch (cause) {
    throw new CniError(
      CODE.decodingFailure,
      `the delegate has succeeded, but its result cannot be read: ${(cause as Error).message}`,
      undefined,
      cause,
    );
  }
}
