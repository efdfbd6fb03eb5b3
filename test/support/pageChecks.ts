import type { Page } from 'playwright-core';

/** What runs in the browser; it is written for it, and checked with the page's own types. */
interface Checks {
  readonly accessibility: () => string[];
  readonly contrast: () => string[];
  readonly focused: () => string | null;
  readonly focusFirst: () => void;
}

const checks = (await import(new URL('../../page/checks/checks.ts', import.meta.url).href)) as Checks;

/** What is wrong with a page for those who do not see it, or see little; in words, empty: nothing. */
export const accessibility = (page: Page): Promise<string[]> => page.evaluate(checks.accessibility);

/** Text with less contrast than WCAG 2.2 AA asks for (1.4.3). */
export const contrast = (page: Page): Promise<string[]> => page.evaluate(checks.contrast);

/** What gets the focus by Tab from the beginning on: section, and id or name. */
export async function tabOrder(page: Page, most = 60): Promise<string[]> {
  await page.evaluate(checks.focusFirst);
  const order: string[] = [];
  for (let i = 0; i < most; i++) {
    const at = await page.evaluate(checks.focused);
    if (at === null) break;
    order.push(at);
    await page.keyboard.press('Tab');
  }
  return order;
}
