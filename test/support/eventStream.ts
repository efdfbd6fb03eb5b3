import { once } from 'node:events';
import { type ClientRequest, request } from 'node:http';
import type { EventJson } from '../../src/api/shapes.ts';

export interface Streamed {
  readonly id: string | undefined;
  /** `message` unless it says otherwise. */
  readonly name: string;
  readonly data: unknown;
}

/** A reader of text/event-stream on a Unix socket, as a browser reads it. */
export class EventStream implements Disposable {
  readonly received: Streamed[] = [];
  status = 0;
  comments = 0;
  ended = false;
  readonly #req: ClientRequest;

  private constructor(req: ClientRequest) {
    this.#req = req;
  }

  /** Resolves with the head of the answer. */
  static async open(
    socketPath: string,
    path = '/v1/events/stream',
    headers: Readonly<Record<string, string>> = {},
  ): Promise<EventStream> {
    const req = request({ socketPath, path, headers, agent: false });
    const stream = new EventStream(req);
    req.on('error', () => {
      stream.ended = true;
    });
    req.end();
    const [res] = (await once(req, 'response')) as [import('node:http').IncomingMessage];
    stream.status = res.statusCode ?? 0;
    let rest = '';
    res.setEncoding('utf8').on('data', (text: string) => {
      const blocks = (rest + text).split('\n\n');
      rest = blocks.pop()!;
      for (const block of blocks) stream.#take(block);
    });
    res.on('error', () => {});
    res.once('close', () => {
      stream.ended = true;
    });
    return stream;
  }

  /** The events proper. */
  get events(): EventJson[] {
    return this.received.filter((s) => s.name === 'message').map((s) => s.data as EventJson);
  }

  [Symbol.dispose](): void {
    this.#req.destroy();
  }

  #take(block: string): void {
    let [id, name, data]: [string | undefined, string, string] = [undefined, 'message', ''];
    for (const line of block.split('\n')) {
      if (line.startsWith(':')) this.comments++;
      else if (line.startsWith('id: ')) id = line.slice(4);
      else if (line.startsWith('event: ')) name = line.slice(7);
      else if (line.startsWith('data: ')) data += line.slice(6);
    }
    if (data !== '') this.received.push({ id, name, data: JSON.parse(data) });
  }
}
