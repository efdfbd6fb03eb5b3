/** A message of text/event-stream: what of it is needed here. */
export interface Message {
  /** `message` when it has no name. */
  readonly event: string;
  /** Of this message, or the last before it that has one. */
  readonly id: string;
  readonly data: string;
}

/** Takes text/event-stream apart as it comes (WHATWG HTML, section 9.2.6; lines end with LF or CR LF here). */
export class EventStreamText {
  #rest = '';
  #event = '';
  #id = '';
  #data: string[] = [];

  /** The messages that are whole with this piece of text. */
  push(text: string): Message[] {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop()!;
    return lines.flatMap((line) => this.#line(line.endsWith('\r') ? line.slice(0, -1) : line));
  }

  #line(line: string): Message[] {
    if (line === '') return this.#end();
    const colon = line.indexOf(':');
    const [field, value] =
      colon < 0 ? [line, ''] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')];
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#event = value;
    else if (field === 'id') this.#id = value;
    return [];
  }

  #end(): Message[] {
    const message = { event: this.#event || 'message', id: this.#id, data: this.#data.join('\n') };
    const isEmpty = this.#data.length === 0;
    this.#event = '';
    this.#data = [];
    return isEmpty ? [] : [message];
  }
}
