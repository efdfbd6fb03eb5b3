/** Names of members whose values are never shown: PSK (flannel's ipsec), PrivateKey (its wireguard), and what others may come by. */
const SECRET = /psk|secret|passw|passphrase|private|token|credential|^key$/i;
/** Nesting that is shown. */
const DEEPEST = 8;

export const MASK = '[redacted]';

/** A parsed JSON value in which secrets are masked, wherever they stand. */
export function masked(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= DEEPEST) return '…';
  if (Array.isArray(value)) return value.map((v) => masked(v, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, v]) => [
      name,
      SECRET.test(name) && v !== null ? MASK : masked(v, depth + 1),
    ]),
  );
}
