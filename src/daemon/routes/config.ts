import type { ConfigJson } from '../../api/shapes.ts';
import { masked } from '../../config/mask.ts';
import { KEYS } from '../../contract.ts';
import type { Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

type Parts = Pick<RouteParts, 'options' | 'daemon'>;

/** The network config as it stands in etcd, without its secrets. Text that is no JSON is not shown at all: nobody can tell what in it is one. */
function configOf(text: string | undefined): unknown {
  if (text === undefined) return null;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? masked(value) : null;
  } catch {
    return null;
  }
}

export function configJson({ options, daemon }: Parts): ConfigJson {
  const { text, problem } = daemon.networkText;
  return {
    options: [...options.settings.values()].map(({ name, origin, from, texts }) => ({
      name,
      origin,
      from,
      values: texts,
    })),
    network: {
      key: `${options.etcd.prefix}/${KEYS.config}`,
      config: configOf(text),
      inForce: text !== undefined && daemon.network !== undefined && problem === undefined,
      problem: problem ?? null,
    },
  };
}

/** `GET /v1/config`: what the daemon was told, and by whom. */
export const configRoutes = (parts: Parts): Route[] => [
  { method: 'GET', path: '/v1/config', audience: 'local', handle: () => ({ value: configJson(parts) }) },
];
