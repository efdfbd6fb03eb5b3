import { useEffect, useState } from 'preact/hooks';
import type { State } from './data/state.ts';
import { listenToKeys } from './keys.ts';
import { Detail } from './view/detail.tsx';
import { Events } from './view/events.tsx';
import { Head } from './view/head.tsx';
import { Help } from './view/help.tsx';
import { Leases } from './view/leases.tsx';
import { Paths } from './view/paths.tsx';
import { Ticking } from './view/stale.tsx';
import { Traffic } from './view/traffic.tsx';

export function App({ state }: { readonly state: State }) {
  const [help, setHelp] = useState(false);
  const [open, setOpen] = useState<string | undefined>(undefined);
  useEffect(
    () => listenToKeys({ help: () => setHelp(true), refresh: () => state.tell({ kind: 'refresh' }) }),
    [state],
  );
  return (
    <>
      <a class="skip" href="#leases">
        Skip to leases
      </a>
      <Ticking />
      <Head state={state} onHelp={() => setHelp(true)} />
      <main>
        <Leases state={state} onOpen={(row) => setOpen(row.key)} />
        <Paths state={state} />
        <Traffic state={state} />
        <Events state={state} />
      </main>
      {help && <Help onClose={() => setHelp(false)} />}
      {open !== undefined && <Detail state={state} leaseKey={open} onClose={() => setOpen(undefined)} />}
    </>
  );
}
