import { NativeError } from '../errors.ts';

/** What is sent: an ICMP echo request; a datagram by an ordinary socket, whose checksum is left to the device; one with a checksum that is complete. */
export type ProbeKind = 'echo' | 'udp' | 'raw-udp';

/** One probe: a whole packet that must not be fragmented. */
export interface Probe {
  /** By which its result is known; goes up by one from probe to probe, and from 2^32-1 to 0. */
  readonly token: number;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly kind: ProbeKind;
  /** Bytes of the whole IP packet: 44 to 65,535, for IPv6 64 to 65,535. */
  readonly size: number;
  /** Destination port of a datagram; 0 for an echo. */
  readonly port: number;
}

/**
 * `answered`: an echo reply, or of a datagram the word of its destination that nothing listens there; nanoseconds from before it was sent until the
 * answer was in the kernel. `not-sent`: the kernel refused it. `unreachable`: somebody says by ICMP that it does not get there. `too-big`: somebody
 * says so, and which MTU would do (0: not which).
 */
export type ProbeResult =
  | { readonly token: number; readonly what: 'answered'; readonly rtt: number }
  | { readonly token: number; readonly what: 'not-sent'; readonly errno: number }
  | {
      readonly token: number;
      readonly what: 'unreachable';
      /** Of the ICMP message. */
      readonly type: number;
      readonly code: number;
    }
  | { readonly token: number; readonly what: 'too-big'; readonly mtu: number };

export interface NativeProber {
  /**
   * Send probes: 28 bytes each, see {@link encodeProbes}. False: too many (1,024) wait to be sent already, and none of these is sent.
   * The last 2,048 are waited for, each for one result.
   */
  send(probes: Uint8Array): boolean;
  /** Ends the thread, closes the sockets. Nothing is told after it. Idempotent. */
  close(): void;
}

export interface ProberAddon {
  /**
   * Open sockets for probes; `netnsFd` -1: in the process's own namespace. `onResults` gets three numbers for each result, see {@link decodeResults};
   * it does not hold the event loop. Throws `{code: 'EPERM'}` without CAP_NET_RAW.
   */
  prober(netnsFd: number, onResults: (results: Float64Array) => void): NativeProber;
}

/** Bytes of one probe in {@link NativeProber.send}; native/prober.cc. */
const PROBE_BYTES = 28;
const KINDS: readonly ProbeKind[] = ['echo', 'udp', 'raw-udp'];
const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** As {@link NativeProber.send} takes them. */
export function encodeProbes(probes: readonly Probe[]): Uint8Array {
  const out = new Uint8Array(probes.length * PROBE_BYTES);
  const view = new DataView(out.buffer);
  for (const [i, { token, address, kind, size, port }] of probes.entries()) {
    const at = i * PROBE_BYTES;
    view.setUint32(at, token, LITTLE);
    view.setUint16(at + 4, size, LITTLE);
    view.setUint16(at + 6, port, LITTLE);
    out[at + 8] = KINDS.indexOf(kind);
    out[at + 9] = address.length === 4 ? 4 : 6;
    out.set(address, at + 12);
  }
  return out;
}

/** From what {@link ProberAddon.prober} tells. */
export function decodeResults(values: Float64Array): ProbeResult[] {
  const out: ProbeResult[] = [];
  for (let i = 0; i + 2 < values.length; i += 3) {
    const token = values[i]!;
    const value = values[i + 2]!;
    if (values[i + 1] === 0) out.push({ token, what: 'answered', rtt: value });
    else if (values[i + 1] === 1) out.push({ token, what: 'not-sent', errno: value });
    else if (values[i + 1] === 2)
      out.push({ token, what: 'unreachable', type: value >> 8, code: value & 255 });
    else out.push({ token, what: 'too-big', mtu: value });
  }
  return out;
}

/** Sockets for probes; throws {@link NativeError} with what is missing. */
export function openProber(
  from: ProberAddon,
  netnsFd: number,
  onResults: (results: Float64Array) => void,
): NativeProber {
  try {
    return from.prober(netnsFd, onResults);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const hint =
      code === 'EPERM' || code === 'EACCES'
        ? 'give the daemon CAP_NET_RAW, or turn probes off by --probe-interval 0'
        : 'without them paths to peers are not probed';
    throw new NativeError(`${message}; ${hint}`, { cause });
  }
}
