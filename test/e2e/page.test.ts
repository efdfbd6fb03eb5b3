import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import type { EventsJson, LeasesJson } from '../../src/api/shapes.ts';
import { DEFAULTS, KEYS } from '../../src/contract.ts';
import { Browser, closeDialog, type OpenPage } from '../support/browser.ts';
import { Cluster } from '../support/cluster.ts';
import { flow } from '../support/flow.ts';
import { accessibility, contrast, tabOrder } from '../support/pageChecks.ts';
import { until } from '../support/proc.ts';

/** The page in a real browser, against daemons that run. */

const PORT = 9459;

const rows = (page: Page) => page.locator('#leases tbody tr[aria-rowindex]');
const text = async (page: Page, selector: string) =>
  (await page.locator(selector).first().textContent()) ?? '';

/** All cells of the matrix, as somebody with a keyboard and a screen reader gets them. */
async function cells(page: Page, n: number): Promise<string[][]> {
  const grid = page.locator('#matrix');
  await grid.focus();
  await page.keyboard.press('Control+Home');
  const all: string[][] = [];
  for (let r = 0; r < n; r++) {
    await page.keyboard.press('Home');
    const row: string[] = [];
    for (let c = 0; c < n; c++) {
      row.push(((await grid.locator('[role=gridcell]').textContent()) ?? '').replace(/^.*?: /, ''));
      await page.keyboard.press('ArrowRight');
    }
    all.push(row);
    await page.keyboard.press('ArrowDown');
  }
  return all;
}

const matrixIs = (
  page: Page,
  what: string,
  n: number,
  is: (row: number, col: number, cell: string) => boolean,
) =>
  until(
    `the matrix to show ${what}`,
    async () => {
      const now = await cells(page, n);
      const wrong = now.flatMap((row, r) => row.filter((cell, c) => !is(r, c, cell)));
      if (wrong.length > 0) throw new Error(JSON.stringify(now));
      return true;
    },
    40_000,
    300,
  );

/** What is cut off or needs scrolling to the side: the page, or a cell that holds no more than a figure. */
const tooWide = (page: Page) =>
  page.evaluate<string[]>(`[document.documentElement, ...document.querySelectorAll(
    '#leases .scroll, .c-subnet, .c-address, .c-left, .c-path, .c-mtu, .c-in, .c-out'
  )].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.className + e.textContent.slice(0, 40))`);

const drawn = (canvas: { toDataURL?(): string }): string => canvas.toDataURL?.() ?? '';

const REACHES = /^reachable, (below [\d.]+|200) ms/;

test('shows a running cluster, and what becomes of it', async () => {
  await using cluster = await Cluster.start(3, {
    families: [4, 6],
    args: ['--metrics-addr', `:${PORT}`, '--probe-interval', '1s'],
  });
  const [first, second, third] = cluster.hosts as [
    (typeof cluster.hosts)[0],
    (typeof cluster.hosts)[0],
    (typeof cluster.hosts)[0],
  ];
  const operator = await cluster.underlay.attach('operator');
  await using _ = operator.netns;
  await using browser = await Browser.start(operator.netns, first.dir);
  const opened = await browser.open(`http://${first.at.ipv4}:${PORT}/`);
  const { page } = opened;

  // Three leases, in the table and on the map.
  await until('three leases', async () => (await rows(page).count()) === 3);
  const { leases } = await first.get<LeasesJson>('/v1/leases');
  const subnets = leases.map((l) => l.subnets[0]!);
  expect(await rows(page).locator('th').allInnerTexts()).toEqual(subnets);
  await until('two of two peers', async () => (await text(page, '.facts')).includes('2 of 2'));
  expect(await text(page, '.facts')).toMatch(/✓ ready[\s\S]*held, 23 h 59 min left[\s\S]*vxlan/);
  expect(await text(page, '[data-connection]')).toContain('live');
  const own = (await first.get<{ lease: { lease: { subnets: string[] } } }>('/v1/status')).lease.lease
    .subnets[0]!;
  const mine = subnets.indexOf(own);
  const gone = subnets.indexOf(
    (await third.get<{ lease: { lease: { subnets: string[] } } }>('/v1/status')).lease.lease.subnets[0]!,
  );

  await matrixIs(page, 'three nodes that reach each other', 3, (r, c, cell) =>
    r === c ? cell === 'itself' : REACHES.test(cell),
  );
  expect(await text(page, '.troubles')).toContain('None: every path that was probed works');

  // By keyboard from the beginning to the end, one stop for each grid and table.
  const order = await tabOrder(page);
  expect(order.filter((o) => /map|matrix|filter|table$/.test(o))).toEqual([
    'leases/map',
    'leases/filter',
    'leases/lease-table',
    'paths/matrix',
  ]);
  expect(order[0]).toBe('/a');
  expect(order.at(-1)).toBe('events/Events, newest first');
  expect(await accessibility(page)).toEqual([]);
  expect(await contrast(page)).toEqual([]);
  await page.keyboard.press('?');
  expect(await text(page, 'dialog')).toContain('light, dark, as the system');
  expect(await accessibility(page)).toEqual([]);
  await closeDialog(page);
  await page.keyboard.press('/');
  await page.keyboard.type(`ours`);
  await until('one lease', async () => (await rows(page).count()) === 1);
  await page.keyboard.press('Control+A');
  await page.keyboard.press('Delete');
  await page.locator('#lease-table').focus();
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  expect(await text(page, 'dialog h2')).toBe(leases[2]!.subnets.join(', '));
  await until('its time left', async () => /Time left23 h 59 min/.test(await text(page, 'dialog')));
  await closeDialog(page);

  // Dark, and as narrow as a telephone.
  expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(243, 245, 244)');
  await page.emulateMedia({ colorScheme: 'dark' });
  const map = () => page.locator('#map canvas').evaluate(drawn);
  const maps: string[] = [];
  // By the system, then against it, by its name, and by the system again.
  for (const background of ['13, 18, 16', '243, 245, 244', '13, 18, 16', '13, 18, 16']) {
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe(`rgb(${background})`);
    expect(await contrast(page)).toEqual([]);
    maps.push(await map());
    await page.keyboard.press('t');
  }
  expect(maps.map((m) => m === maps[0])).toEqual([true, false, true, true]);
  await page.keyboard.press('t');
  await page.keyboard.press('t');
  await until('peers in the traffic', async () => (await page.locator('.busiest tbody tr').count()) === 3);
  for (const width of [360, 1280, 1400]) {
    await page.setViewportSize({ width, height: 1300 });
    await until(`no scrolling to the side at ${width}`, async () => {
      const wide = await tooWide(page);
      if (wide.length > 0) throw new Error(wide.join('\n'));
      return true;
    });
  }
  expect(await page.locator('#lease-table th:visible').count()).toBe(8 + 3);
  // Nobody has said that these leases are kept for long: etcd has.
  await until('how long each has left', async () =>
    (await page.locator('.c-left').allInnerTexts()).every((t) => /^(Left|23 h)$/.test(t)),
  );
  // A cell is told of when somebody points at it.
  expect(await text(page, '.map .inspect p')).toBe('');
  await page.locator('#map canvas').hover({ position: { x: 3, y: 3 } });
  await until('the first cell', async () => /^10\.42\.0\.0\/24: /.test(await text(page, '.map .inspect p')));

  // Traffic between pods shows.
  const [from, to] = [await first.workload(), await second.workload()];
  const sum = async () => Number(await page.locator('[data-sum]').getAttribute('data-sum'));
  await until('the sum of all peers', async () => (await page.locator('[data-sum]').count()) === 1);
  const before = await page.locator('#traffic canvas').evaluate(drawn);
  // 1000 datagrams a second; probes alone are a tenth of it.
  await flow([from, to], () => until('traffic', async () => (await sum()) > 30_000, 20_000));
  expect(await page.locator('.busiest tbody tr').count()).toBeGreaterThan(1);
  expect(await page.locator('#traffic canvas').evaluate(drawn)).not.toBe(before);

  // A host goes away: its daemon dies and nothing comes from it any more.
  await third.daemon.stop('SIGKILL');
  await cluster.underlay.plug(third.at, 'out');
  const lost = await until(
    'word of the path',
    async () => (await first.get<EventsJson>('/v1/events?kind=path')).events.find((e) => e.level !== 'info'),
    30_000,
  );
  await until('the event on the page', async () => (await text(page, '#events ol')).includes(lost.message));
  await matrixIs(page, 'the third unreachable', 3, (r, c, cell) => {
    if (r === c) return cell === 'itself';
    if (r === gone) return /^nobody has told/.test(cell);
    return c === gone ? cell === 'unreachable' : REACHES.test(cell);
  });
  expect(await text(page, '.troubles ul')).toMatch(/cannot be reached by 2 of 2 nodes/);
  await until('1 of 2', async () => (await text(page, '.facts')).includes('1 of 2'));
  await until('the map to tell', async () => /does not answer \(1\)/.test(await text(page, '.map .legend')));

  // Its lease is taken away.
  const keyOf = (key: string) => `${DEFAULTS.etcdPrefix}/${KEYS.subnets}/${key}`;
  await cluster.etcd.delete(keyOf(leases[gone]!.key));
  await until('two leases', async () => (await rows(page).count()) === 2, 20_000);
  expect(await rows(page).locator('th').allInnerTexts()).toEqual(subnets.filter((_, i) => i !== gone));
  expect(mine).not.toBe(gone);

  // One is reserved for a node that is yet to come.
  const reserved = '10.42.100.0/24';
  await cluster.etcd.put(keyOf(reserved.replace('/', '-')), JSON.stringify({ PublicIP: '192.0.2.77' }));
  const its = page.locator('#leases tbody tr', { hasText: reserved });
  await until('the reservation', async () => (await its.count()) === 1, 20_000);
  expect(await its.locator('.c-state').textContent()).toBe('reserved, awaits its node');
  expect(await text(page, '.map .legend')).toMatch(/reserved \(1\).*does not answer \(0\)/);
  silent(opened);

  // The daemon of the page itself goes, and comes back.
  await first.stop();
  await until(
    'the page to say so',
    async () => (await text(page, '[data-connection]')).includes('reconnecting'),
    20_000,
  );
  await first.start();
  await until(
    'the page to be live again',
    async () => /live$/.test(await text(page, '[data-connection]')),
    45_000,
  );
  await until(
    'events of the new daemon',
    async () => (await text(page, '#events ol')).split('ready').length > 1,
  );
  expect(opened.strayed).toEqual([]);
});

const silent = ({ complaints, strayed }: OpenPage) => {
  expect(complaints).toEqual([]);
  expect(strayed).toEqual([]);
};
