import { askText } from '../api/client.ts';
import { printableLines } from '../text.ts';
import type { Io } from './command.ts';
import { json } from './render.ts';

/** One sample, e.g. `loden_objects{kind="route"} 12`. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Null: not a number JSON knows (NaN, +Inf, -Inf). */
  readonly value: number | null;
}

/** `loden metrics`: the daemon's metrics as Prometheus reads them, or as JSON. */
export async function metrics(
  options: { readonly runDir: string; readonly json: boolean },
  io: Io,
): Promise<void> {
  const text = await askText(options.runDir, { path: '/metrics' });
  if (options.json) io.print(json({ samples: samplesOf(text) }));
  else io.print(printableLines(text));
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+([-+]?(?:Inf|\d[\d.eE+-]*)|NaN)(?:\s+-?\d+)?$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

/** Samples of the text format (prometheus.io/docs/instrumenting/exposition_formats); lines that are none are left out. */
export function samplesOf(text: string): Sample[] {
  return text.split('\n').flatMap((line): Sample[] => {
    const [, name, labels = '', value] = SAMPLE.exec(line) ?? [];
    if (name === undefined) return [];
    const n = Number(value);
    return [
      {
        name,
        labels: Object.fromEntries(
          Array.from(labels.matchAll(LABEL), ([, key, quoted]) => [key!, unquoted(quoted!)]),
        ),
        value: Number.isFinite(n) ? n : null,
      },
    ];
  });
}

const unquoted = (text: string): string => text.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
