import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { VERSION } from '../../src/contract.ts';

/** How the parts of src/ may depend on each other. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * What the files of a directory may import besides each other and the leaves: whole directories (`net/`) or single
 * files. Types of another layer are imports like any other. What is not named here may import everything.
 */
const MAY: Readonly<Record<string, readonly string[]>> = {
  net: [],
  native: [],
  netlink: ['net/', 'native/'],
  kernel: ['net/', 'netlink/', 'native/'],
  subnet: ['net/', 'native/', 'api/leases.ts'],
  backends: ['net/', 'kernel/types.ts', 'subnet/types.ts'],
  config: ['net/', 'backends/', 'subnet/types.ts', 'api/eventKinds.ts'],
  forwarder: ['net/', 'native/', 'backends/', 'subnet/files.ts'],
  handover: ['native/', 'forwarder/bundle.ts'],
  api: [],
  probe: ['net/', 'native/', 'subnet/types.ts', 'kernel/slices.ts'],
  cni: ['net/', 'native/', 'netlink/', 'kernel/', 'subnet/files.ts'],
  inspect: [
    'api/',
    'net/',
    'native/',
    'netlink/',
    'kernel/',
    'subnet/',
    'backends/',
    'config/',
    'forwarder/',
    'probe/',
  ],
  metrics: [
    'api/',
    'net/',
    'native/',
    'subnet/',
    'kernel/status.ts',
    'kernel/types.ts',
    'probe/types.ts',
    'cni/counters.ts',
    'cni/status.ts',
    'forwarder/stats.ts',
  ],
  admin: ['api/', 'net/', 'backends/', 'config/', 'subnet/'],
  cli: [
    'api/',
    'admin/',
    'inspect/',
    'net/',
    'kernel/',
    'subnet/',
    'backends/registry.ts',
    'config/',
    // `loden run` is the daemon.
    'daemon/run.ts',
  ],
  daemon: [
    'api/',
    'admin/',
    'probe/',
    'metrics/',
    'cni/',
    'net/',
    'native/',
    'netlink/',
    'kernel/',
    'subnet/',
    'backends/',
    'config/',
    'forwarder/',
    'handover/',
  ],
};

/** Pure: nothing of Node, neither modules nor globals. */
const PURE = ['net', 'backends'];

/** What the page, which runs in browsers, may import of src/: nothing that needs Node. */
const PAGE_MAY = ['net/', 'api/cell.ts', 'api/eventKinds.ts', 'api/matrix.ts', 'api/shapes.ts'];

/** The programs at the top of src/; everything else there is a leaf that everybody may import. */
const TOPS = ['main.ts'];

const STATIC = /^(?:import|export)\b(?:[^'";]*?\bfrom\s*)?\s*['"]([^'"]+)['"]/gm;

/** Module specifiers of static imports and re-exports, and of dynamic imports with a plain name. */
function importsOf(source: string): string[] {
  const statics = source.matchAll(STATIC);
  const dynamics = source.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g);
  return [...statics, ...dynamics].map((m) => m[1]!);
}

/** Source without comments and texts, roughly: enough to look for names in. */
const codeOf = (source: string): string =>
  source.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '').replace(/'[^'\n]*'|"[^"\n]*"/g, "''");

const partOf = (file: string): string => (file.includes('/') ? file.slice(0, file.indexOf('/')) : '');
const isLeaf = (file: string): boolean => partOf(file) === '' && !TOPS.includes(file);

const within = (may: readonly string[], target: string): boolean =>
  may.some((m) => (m.endsWith('/') ? target.startsWith(m) : target === m));

type Sources = ReadonlyMap<string, string>;

/** Files by their path below a folder of the repository. */
function sources(folder = 'src'): Sources {
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).filter((f) =>
    /\.tsx?$/.test(f),
  );
  return new Map(files.map((f) => [f, readFileSync(join(ROOT, folder, f), 'utf8')]));
}

/** What breaks the rules, in words. */
function violations(files: Sources): string[] {
  const out: string[] = [];
  for (const [file, source] of files) {
    const part = partOf(file);
    for (const spec of importsOf(source)) {
      if (!spec.startsWith('.')) {
        if (PURE.includes(part) && spec.startsWith('node:'))
          out.push(`${file} imports ${spec}, but ${part}/ is pure`);
        continue;
      }
      const target = normalize(join(dirname(file), spec));
      if (!files.has(target)) out.push(`${file} imports ${spec}, which is no file of src/`);
      else if (!allowed(file, target)) out.push(`${file} imports ${target}`);
    }
    const global = PURE.includes(part)
      ? /\b(?:process|Buffer|require|globalThis)\b/.exec(codeOf(source))
      : null;
    if (global) out.push(`${file} uses ${global[0]}, but ${part}/ is pure`);
  }
  return out;
}

function allowed(file: string, target: string): boolean {
  if (TOPS.includes(target)) return false;
  if (isLeaf(target)) return true;
  if (isLeaf(file)) return partOf(target) === 'native';
  const part = partOf(file);
  const may = MAY[part];
  return !may || part === partOf(target) || within(may, target);
}

/** What the page imports of src/ and may not. */
function pageViolations(files: Sources): string[] {
  return [...files].flatMap(([file, source]) =>
    importsOf(source)
      .map((spec) => relative('src', normalize(join('page/src', dirname(file), spec))))
      .filter((target) => !target.startsWith('..') && !within(PAGE_MAY, target))
      .map((target) => `${file} imports ${target}`),
  );
}

/** Modules that are loaded before this one runs: imports of types alone are erased. */
const loadedBy = (source: string): string[] =>
  Array.from(source.matchAll(STATIC), (m) => (/^(?:import|export)\s+type\b/.test(m[0]) ? '' : m[1]!)).filter(
    (s) => s.startsWith('.'),
  );

/** A chain of modules that wait for each other. */
function cycle(files: Sources): string[] | undefined {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    path.push(file);
    for (const spec of loadedBy(files.get(file) ?? '')) {
      const found = visit(normalize(join(dirname(file), spec)));
      if (found) return found;
    }
    path.pop();
    done.add(file);
    return undefined;
  };
  for (const file of files.keys()) {
    const found = visit(file);
    if (found) return found;
  }
  return undefined;
}

describe('the sources', () => {
  test('import in one direction only', () => {
    const files = sources();
    expect(files.size).toBeGreaterThan(40);
    expect(violations(files)).toEqual([]);
  });

  test('of the page import nothing that needs Node', () => {
    const files = sources('page/src');
    expect(files.size).toBeGreaterThan(20);
    expect(pageViolations(files)).toEqual([]);
  });

  test('have no import cycle', () => expect(cycle(sources())).toBeUndefined());
});

describe('the rules notice', () => {
  const base = {
    'net/addr.ts': '',
    'kernel/types.ts': '',
    'kernel/route.ts': '',
    'subnet/types.ts': '',
    'cli/render.ts': '',
    'daemon/admin.ts': '',
    'main.ts': '',
    'errors.ts': '',
  };
  const broken = (file: string, source: string) =>
    violations(new Map(Object.entries({ ...base, [file]: source })));

  test.each([
    ['net/x.ts', "import { a } from '../kernel/types.ts';"],
    ['net/x.ts', "import type { a } from '../kernel/types.ts';"],
    ['net/x.ts', "import {\n  a,\n  b,\n} from '../subnet/types.ts';"],
    ['net/x.ts', "import 'node:fs';"],
    ['net/x.ts', "export * from '../kernel/types.ts';"],
    ['net/x.ts', "const a = await import('../kernel/types.ts');"],
    ['net/x.ts', 'export const n = Buffer.alloc(1);'],
    ['backends/vxlan/x.ts', "import { a } from '../../kernel/route.ts';"],
    ['backends/x.ts', "import { readFileSync } from 'node:fs';"],
    ['backends/x.ts', 'const e = process.env;'],
    ['subnet/x.ts', "import { a } from '../kernel/types.ts';"],
    ['netlink/x.ts', "import { a } from '../kernel/types.ts';"],
    ['kernel/x.ts', "import { a } from '../main.ts';"],
    ['daemon/x.ts', "import { a } from '../main.ts';"],
    ['errors.ts', "import { a } from './net/addr.ts';"],
    ['net/x.ts', "import { a } from './addr';"],
    ['api/x.ts', "import type { a } from '../subnet/types.ts';"],
    ['admin/x.ts', "import { a } from '../kernel/route.ts';"],
    ['cli/x.ts', "import { a } from '../daemon/admin.ts';"],
    ['daemon/x.ts', "import { a } from '../cli/render.ts';"],
    ['inspect/x.ts', "import { a } from '../cli/render.ts';"],
  ])('in %s: %s', (file, source) => expect(broken(file, source)).toHaveLength(1));

  test.each([
    [
      'backends/vxlan/x.ts',
      "import { a } from '../../kernel/types.ts';\nimport { b } from '../../errors.ts';",
    ],
    ['kernel/x.ts', "import { a } from './types.ts';\nimport fs from 'node:fs';"],
    ['cli/x.ts', "import { a } from '../subnet/types.ts';"],
    [
      'net/x.ts',
      "/** Not a Buffer: import { a } from '../kernel/types.ts' is no import here. */\nexport const p = 'process';",
    ],
  ])('nothing in %s: %s', (file, source) => expect(broken(file, source)).toEqual([]));

  test('what the page may not import', () => {
    const broken = (source: string) => pageViolations(new Map([['view/x.tsx', source]]));
    expect(
      broken("import type { A } from '../../../src/api/shapes.ts';\nimport 'preact';\nimport './y.ts';"),
    ).toEqual([]);
    expect(broken("import { a } from '../../../src/api/client.ts';")).toEqual([
      'view/x.tsx imports api/client.ts',
    ]);
    expect(broken("import { a } from '../../../src/errors.ts';")).toHaveLength(1);
  });

  test('cycles of modules, not of types', () => {
    const ring = (last: string) =>
      new Map([
        ['a.ts', "import './b.ts';"],
        ['b.ts', "import './c.ts';"],
        ['c.ts', last],
      ]);
    expect(cycle(ring("export { x } from './b.ts';"))).toEqual(['b.ts', 'c.ts', 'b.ts']);
    expect(cycle(ring("import type { x } from './b.ts';"))).toBeUndefined();
  });
});

test('the version is that of the package', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  expect(VERSION).toBe(version);
});
