/** One event of a text/event-stream (WHATWG HTML, section 9.2.6). */
export interface ServerEvent {
  /** `message` unless it says otherwise. */
  readonly event: string;
  readonly data: string;
  /** The last id so far; empty: none. */
  readonly id: string;
}

/** Characters of one event: ours have some hundreds. */
const LONGEST = 1 << 20;

/** Reads an event stream from pieces of text, cut anywhere. Throws RangeError when a line or an event has no end. */
export class EventStream {
  #text = '';
  #event = '';
  #data: string[] = [];
  #size = 0;
  #id = '';

  /** What is complete with this piece. */
  *push(piece: string): Generator<ServerEvent, void, undefined> {
    this.#text += piece;
    for (;;) {
      const end = /\r\n|\n|\r(?!$)/.exec(this.#text);
      if (!end) break;
      const line = this.#text.slice(0, end.index);
      this.#text = this.#text.slice(end.index + end[0].length);
      const done = this.#line(line);
      if (done) yield done;
    }
    if (this.#text.length > LONGEST) throw new RangeError(`a line of more than ${LONGEST} characters`);
  }

  #line(line: string): ServerEvent | undefined {
    if (line === '') {
      const done = { event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id };
      const empty = this.#data.length === 0;
      this.#event = '';
      this.#data = [];
      this.#size = 0;
      return empty ? undefined : done;
    }
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line)!;
    if (field === 'data') {
      this.#data.push(value ?? '');
      this.#size += line.length;
      if (this.#size > LONGEST) throw new RangeError(`an event of more than ${LONGEST} characters`);
    } else if (field === 'event') this.#event = value ?? '';
    else if (field === 'id' && !value?.includes('\0')) this.#id = value ?? '';
    return undefined;
  }
}
