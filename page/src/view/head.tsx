import type { StatusJson } from '../../../src/api/shapes.ts';
import type { State } from '../data/state.ts';
import { staleAfter } from '../model/schedule.ts';
import { count, duration } from '../model/words.ts';
import { useSignal } from '../signal.ts';
import { nextTheme, theme } from '../theme.ts';
import { useClock } from './stale.tsx';

/** How it stands with the page itself. */
function Connection({ state }: { readonly state: State }) {
  const { okAt, error } = useSignal(state.topics.status);
  const streaming = useSignal(state.streaming);
  const now = useClock();
  const [mood, text] =
    okAt === null
      ? error === null
        ? ['wait', 'connecting']
        : ['bad', `not connected: ${error}; trying again`]
      : error !== null || now - okAt > staleAfter(2_000)
        ? ['bad', `reconnecting: what is shown is ${duration((now - okAt) / 1000)} old`]
        : streaming
          ? ['good', 'live']
          : ['wait', 'live, without events as they happen'];
  return (
    <output class={`connection ${mood}`} data-connection={mood} aria-live="polite">
      <span class="dot" aria-hidden="true">
        {mood === 'good' ? '●' : mood === 'wait' ? '○' : '▲'}
      </span>{' '}
      {/* The age changes every second: that alone is not read out. */}
      <span aria-hidden={mood === 'bad' && okAt !== null}>{text}</span>
      {mood === 'bad' && okAt !== null && <span class="vh">reconnecting: what is shown is old</span>}
    </output>
  );
}

function ThemeButton() {
  const now = useSignal(theme);
  const words = { auto: 'as the system', light: 'light', dark: 'dark' } as const;
  return (
    <button
      type="button"
      class="theme"
      onClick={() => theme.set(nextTheme(now))}
      aria-label={`Colours: ${words[now]}; change to ${words[nextTheme(now)]}`}
    >
      {now === 'auto' ? '◐ auto' : now === 'light' ? '○ light' : '● dark'}
    </button>
  );
}

const sumOf = (objects: StatusJson['kernel']['objects'], what: 'desired' | 'inSync' | 'failing'): number =>
  Object.values(objects).reduce((n, kind) => n + kind[what], 0);

function Lease({ status, at }: { readonly status: StatusJson; readonly at: number }) {
  const now = useClock();
  const { lease } = status;
  const left = lease.secondsLeft === null ? null : lease.secondsLeft - Math.max(0, now - at) / 1000;
  return (
    <>
      <strong>{lease.lease?.subnets[0] ?? 'none yet'}</strong>
      {lease.lease?.subnets.slice(1).map((subnet) => (
        <span key={subnet}>{subnet}</span>
      ))}
      <span role="timer" aria-live="off">
        {lease.lease?.reservation
          ? 'reserved: does not run out'
          : left === null
            ? lease.state
            : left > 0
              ? `${lease.state}, ${duration(left)} left`
              : 'run out'}
        {lease.reason ? `; ${lease.reason}` : ''}
      </span>
    </>
  );
}

function Peers({ status }: { readonly status: StatusJson }) {
  const { reachable, lossy, unreachable, unprobed, lowered } = status.paths;
  const unserved = Math.max(0, status.peers - reachable - lossy - unreachable - unprobed);
  const rest = [
    unreachable > 0 && `${unreachable} unreachable`,
    lossy > 0 && `${lossy} lossy`,
    lowered > 0 && `${lowered} of lowered MTU`,
    unprobed > 0 && `${unprobed} not probed`,
    unserved > 0 && `${unserved} without a path`,
  ].filter(Boolean);
  return (
    <>
      <strong>
        {reachable + lossy} of {status.peers}
      </strong>
      <span>{rest.length > 0 ? rest.join(', ') : 'no trouble'}</span>
    </>
  );
}

/** This node at a glance. */
export function Head({ state, onHelp }: { readonly state: State; readonly onHelp: () => void }) {
  const known = useSignal(state.status);
  const status = known?.status;
  return (
    <header>
      <div class="bar">
        <h1>
          Loden{' '}
          <small>
            {status ? `on ${status.uplink?.publicIP ?? status.uplink?.publicIPv6 ?? 'this node'}` : ''}
          </small>
        </h1>
        <Connection state={state} />
        <span class="push" />
        <ThemeButton />
        <button type="button" onClick={onHelp} aria-keyshortcuts="?">
          ? keys
        </button>
      </div>
      {known && status && <Facts status={status} at={known.at} />}
      {status && status.problems.length > 0 && (
        <section class="problems" aria-label="Problems">
          <h2>{count(status.problems.length, 'problem')}</h2>
          <ul>
            {status.problems.slice(0, 12).map((p) => (
              <li key={p}>{p}</li>
            ))}
            {status.problems.length > 12 && (
              <li>and {status.problems.length - 12} more: see `loden status`</li>
            )}
          </ul>
        </section>
      )}
    </header>
  );
}

function Facts({ status, at }: { readonly status: StatusJson; readonly at: number }) {
  const { objects } = status.kernel;
  const [inSync, desired, failing] = [
    sumOf(objects, 'inSync'),
    sumOf(objects, 'desired'),
    sumOf(objects, 'failing'),
  ];
  const repairs = Object.values(status.kernel.repairs).reduce((a, b) => a + b, 0);
  return (
    <dl class="facts">
      <div class={status.ready ? 'good' : 'bad'}>
        <dt>State</dt>
        <dd>
          <strong>
            <span aria-hidden="true">{status.ready ? '✓ ' : '✗ '}</span>
            {status.ready ? 'ready' : 'not ready'}
          </strong>
          <span>{status.reason ?? `version ${status.version}`}</span>
        </dd>
      </div>
      <div class={status.lease.state === 'held' ? 'good' : 'bad'}>
        <dt>Lease</dt>
        <dd>
          <Lease status={status} at={at} />
        </dd>
      </div>
      <div>
        <dt>Network</dt>
        <dd>
          <strong>{status.network?.backend ?? 'not configured'}</strong>
          <span>{[status.network?.IPv4, status.network?.IPv6].filter(Boolean).join(', ')}</span>
        </dd>
      </div>
      <div>
        <dt>Uplink</dt>
        <dd>
          <strong>{status.uplink?.name ?? 'none'}</strong>
          <span>
            {status.uplink ? `MTU ${status.uplink.mtu}` : ''}
            {status.mtu ? `, pods ${status.mtu}` : ''}
          </span>
        </dd>
      </div>
      <div class={status.paths.unreachable > 0 ? 'bad' : ''}>
        <dt>Peers reachable</dt>
        <dd>
          <Peers status={status} />
        </dd>
      </div>
      <div class={failing > 0 ? 'bad' : ''}>
        <dt>Kernel objects in sync</dt>
        <dd>
          <strong>
            {inSync.toLocaleString('en')} of {desired.toLocaleString('en')}
          </strong>
          <span>
            {failing > 0 ? `${count(failing, 'object')} failing, ` : ''}
            {repairs > 0 ? count(repairs, 'repair') : 'nothing repaired'}
          </span>
        </dd>
      </div>
      <div class={status.store.connected ? '' : 'bad'}>
        <dt>etcd</dt>
        <dd>
          <strong>{status.store.connected ? 'connected' : 'away'}</strong>
          <span>{status.store.error ?? `revision ${status.store.revision ?? '–'}`}</span>
        </dd>
      </div>
    </dl>
  );
}
