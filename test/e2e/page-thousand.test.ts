import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { Browser, closeDialog } from '../support/browser.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { accessibility } from '../support/pageChecks.ts';
import { until } from '../support/proc.ts';
import { held, mainThreadTasks } from '../support/trace.ts';

/** The page among a thousand nodes that are always in motion. */

const DAEMON = fileURLToPath(new URL('../support/pretendDaemon.ts', import.meta.url));
const URL_OF_PAGE = 'http://127.0.0.1:9459/';
/** Milliseconds that a task may compute: the most that is allowed. */
const LONGEST = 200;

interface Noted {
  readonly long: number[];
  readonly inputs: { readonly type: string; readonly ms: number }[];
}

const { watch } = (await import(new URL('../../page/checks/watch.ts', import.meta.url).href)) as {
  watch: () => void;
};
/** What an operator does is done that many times. */
const ROUNDS = 8;
const noted = (page: Page) => page.evaluate<Noted>('noted');

const text = async (page: Page, selector: string) =>
  (await page.locator(selector).first().textContent()) ?? '';

/** What an operator does, once around. */
async function operate(page: Page, round: number): Promise<void> {
  await page.locator('#filter').fill('');
  await page.locator('#filter').pressSequentially(`10.${64 + round} reach`, { delay: 20 });
  await page.locator('#leases output', { hasText: / of [\d,]+ leases/ }).waitFor();
  await page.locator('#leases th button').nth(4).click();
  await page
    .locator('#leases th button')
    .nth(round % 5)
    .click();
  await page.locator('#filter').fill('');
  await page.locator('#lease-table').focus();
  for (const key of ['PageDown', 'PageDown', 'End', 'Home', 'ArrowDown']) await page.keyboard.press(key);
  await page.keyboard.press('Enter');
  await page.locator('dialog').waitFor({ timeout: 5_000 });
  await closeDialog(page);
  await page.locator('#matrix').focus();
  for (const key of ['ArrowDown', 'PageDown', 'End', '+', '+', 'PageUp', '-', '-', 'Control+End', 'Home']) {
    await page.keyboard.press(key);
  }
  await page.locator('#map canvas').hover({ position: { x: 30 + round * 9, y: 20 } });
  await page.locator('.troubles button').nth(round).click();
  await page.locator('#event-kind').selectOption(['path', 'peer', 'all'][round % 3]!);
  await page
    .locator('#traffic select')
    .first()
    .selectOption(['in', 'out', 'both'][round % 3]!);
  await page.locator('body').press('t');
}

test('stays responsive among a thousand nodes, and holds no more as time goes by', async () => {
  const owner = thisProcess();
  await using netns = await Netns.create(owner, 'page');
  const dir = owner.tempDir('page');
  const daemon = await netns.start([process.execPath, DAEMON, '9459', '1000'], { log: `${dir}/daemon.log` });
  await daemon.saying(/serving/);
  await using browser = await Browser.start(netns, dir);
  const { page, complaints, strayed } = await browser.open('about:blank', { init: watch });
  let before = { bytes: 0, nodes: 0 };
  const tasks = await mainThreadTasks(page, async () => {
    await page.goto(URL_OF_PAGE);
    await until('all leases', async () => (await text(page, '#leases .sub')).startsWith('1,000 leases'));
    await until('the matrix', async () => (await text(page, '#paths .sub')).includes('of 1,000 nodes'));
    await until('leases that run out', async () =>
      /not renewed in time \([1-9]/.test(await text(page, '.map .legend')),
    );
    // Only what is in sight is in the document.
    expect(await page.locator('#leases tbody tr').count()).toBeLessThan(60);
    for (let round = 0; round < ROUNDS; round++) {
      await operate(page, round);
      if (round === 1) before = await held(page);
      if (round === 2) {
        daemon.kill('SIGUSR2');
        await until('a third to be unreachable', async () =>
          /3\d\d unreachable/.test(await text(page, '.facts')),
        );
      }
    }
  });
  const after = await held(page);
  const { long, inputs } = await noted(page);
  const worst = [...tasks].sort((a, b) => b - a).slice(0, 5);
  const slowest = [...inputs].sort((a, b) => b.ms - a.ms).slice(0, 5);
  console.info(`tasks ms of CPU: ${worst.map(Math.round)}; long tasks ms: ${long.map(Math.round)}`);
  console.info(
    `inputs: ${inputs.length}, slowest ${slowest.map(({ type, ms }) => `${type} ${ms} ms`).join(', ')}`,
  );
  console.info(`held: ${JSON.stringify(before)}, then ${JSON.stringify(after)}`);

  expect(tasks.length).toBeGreaterThan(500);
  expect(inputs.length).toBeGreaterThan(20);
  expect(worst.filter((ms) => ms > LONGEST)).toEqual([]);
  // A thousand rows alone would be 20,000.
  expect(after.nodes).toBeLessThan(6_000);
  expect(after.bytes).toBeLessThan(before.bytes * 1.5 + 4e6);
  expect(await accessibility(page)).toEqual([]);
  expect({ complaints, strayed }).toEqual({ complaints: [], strayed: [] });

  // A task that is too long would have been seen, by both.
  let seen = 0;
  for (let work = 1e8; seen <= LONGEST && work < 1e11; work *= 4) {
    const control = await mainThreadTasks(page, async () => {
      await page.evaluate(
        `setTimeout(() => { for (let i = 0; i < ${work}; i++) noted.spent = i; noted.done = ${work}; })`,
      );
      await until('the work to be done', () => page.evaluate<boolean>(`noted.done === ${work}`), 60_000);
    });
    seen = Math.max(...control);
  }
  expect(seen).toBeGreaterThan(LONGEST);
  await until('the page to note it', async () => (await noted(page)).long.some((ms) => ms > LONGEST));
});
