import type { NativeProber, ProbeKind, ProberAddon } from '../../src/native/prober.ts';
import { type Addr, addrFromBytes, formatAddr } from '../../src/net/addr.ts';

/** The path to a peer, as far as a prober can tell. */
export interface FakePath {
  /** Milliseconds there and back; 0.2. */
  readonly rtt?: number;
  /** Asked for each packet: is it lost? */
  readonly loses?: (kind: ProbeKind, size: number) => boolean;
  /** Bytes of the largest packet that passes; what the device takes. */
  readonly pathMtu?: number;
  /** The MTU that a router names to whoever sends more. */
  readonly named?: number;
  /** What becomes of datagrams: `answered` (default), `silent`, or `broken` when their checksum was left to the device. */
  readonly datagrams?: 'answered' | 'silent' | 'broken';
  /** Nothing can be sent there: errno. */
  readonly errno?: number;
}

/** The errno of a packet that is longer than the device takes. */
const EMSGSIZE = 90;
const KINDS: readonly ProbeKind[] = ['echo', 'udp', 'raw-udp'];

export interface Sent {
  readonly token: number;
  readonly kind: ProbeKind;
  readonly size: number;
  readonly port: number;
  readonly to: Addr;
}

/** Answers probes as the kernel, the peers and all between them would; test/netns/prober-fake.test.ts holds it to them. Time is that of the timers. */
export class FakeProbers implements ProberAddon {
  /** By address. Who is not in it does not answer. */
  readonly paths = new Map<string, FakePath>();
  readonly sent: Sent[] = [];
  /** Bytes. */
  deviceMtu = 1450;
  closed = false;
  #onResults: (results: Float64Array) => void = () => {};

  /** Keep what is sent? Thousands of peers for hours are too much. */
  keep = true;
  count = 0;

  prober(_netnsFd: number, onResults: (results: Float64Array) => void): NativeProber {
    this.#onResults = onResults;
    return {
      send: (bytes) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        for (let at = 0; at < bytes.length; at += 28) {
          this.#answer({
            token: view.getUint32(at, true),
            size: view.getUint16(at + 4, true),
            port: view.getUint16(at + 6, true),
            kind: KINDS[bytes[at + 8]!]!,
            to: addrFromBytes(bytes.subarray(at + 12, at + 12 + (bytes[at + 9] === 4 ? 4 : 16))),
          });
        }
        return true;
      },
      close: () => {
        this.closed = true;
      },
    };
  }

  /** Tell a result, as if it had come: token, what, value. */
  tell(...result: [number, number, number]): void {
    if (!this.closed) this.#onResults(Float64Array.from(result));
  }

  #answer(sent: Sent): void {
    this.count++;
    if (this.keep) this.sent.push(sent);
    const path = this.paths.get(formatAddr(sent.to));
    const { token, kind, size } = sent;
    const error = path?.errno ?? (size > this.deviceMtu ? EMSGSIZE : undefined);
    if (error !== undefined) this.#later(0, token, 1, error);
    if (error !== undefined || !path || path.loses?.(kind, size)) return;
    const { rtt = 0.2, pathMtu = this.deviceMtu, named, datagrams = 'answered' } = path;
    if (size > pathMtu) {
      if (named !== undefined) this.#later(rtt, token, 3, named);
      return;
    }
    if (kind !== 'echo' && datagrams === 'silent') return;
    if (kind === 'udp' && datagrams === 'broken') return;
    this.#later(rtt, token, 0, rtt * 1e6);
  }

  #later(ms: number, ...result: [number, number, number]): void {
    setTimeout(() => this.tell(...result), ms);
  }
}
