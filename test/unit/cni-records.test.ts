import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { Records } from '../../src/cni/records.ts';
import { attachment } from '../support/cniAttach.ts';
import { thisProcess } from '../support/owner.ts';

let dir: string;
let aside: string[];
const open = () => Records.open(dir, (file, reason) => aside.push(`${file}: ${reason}`));
const files = () => readdirSync(dir).filter((name) => !name.startsWith('spare-'));

beforeEach(() => {
  dir = join(thisProcess().tempDir('records'), 'attachments');
  aside = [];
});

describe('what was not written when the daemon was killed', () => {
  test.each([0, 1, 100])(
    '%d bytes of an ADD that has begun: nothing was reserved for it, nothing is said or kept',
    async (size) => {
      const records = await open();
      records.begin(attachment(2));
      const [name] = files();
      const text = readFileSync(join(dir, name!), 'utf8');
      writeFileSync(join(dir, name!), text.slice(0, size));
      expect((await open()).size).toBe(0);
      expect([files(), aside]).toEqual([[], []]);
    },
  );

  test('of one that is done: set aside, for its pod lives', async () => {
    const records = await open();
    records.begin(attachment(2));
    records.attached(attachment(2));
    const [name] = files();
    writeFileSync(join(dir, name!), '');
    expect((await open()).size).toBe(0);
    expect(files()).toEqual([`${name}.bad`]);
    expect(aside).toEqual([expect.stringContaining('cut short')]);
  });

  test('garbage: set aside', async () => {
    const records = await open();
    records.begin(attachment(2));
    const [name] = files();
    writeFileSync(join(dir, name!), 'garbage\n');
    await open();
    expect(files()).toEqual([`${name}.bad`]);
  });
});

test('a record has its name only when it is whole', async () => {
  const records = await open();
  // Whatever is seen under the name, at any time, can be read: a file that is made there has another inode.
  for (let i = 2; i < 5; i++) {
    records.begin(attachment(i));
    records.attached(attachment(i));
  }
  for (let i = 2; i < 5; i++) records.remove(attachment(i));
  expect([files(), readdirSync(dir).length]).toEqual([[], 3]);
  records.begin(attachment(2));
  expect(readdirSync(dir)).toHaveLength(3);
  expect((await open()).get(attachment(2))?.state).toBe('adding');
});
