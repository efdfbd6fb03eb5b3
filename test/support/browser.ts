import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser as Chromium, type ConsoleMessage, chromium, type Page } from 'playwright-core';
import type { Netns } from './netns.ts';

const CHROMIUM = '/usr/bin/chromium';

/** Nothing that speaks with anybody but the page. */
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
] as const;

/** A page that is open, and all it has said or asked. */
export interface OpenPage {
  readonly page: Page;
  /** Errors and warnings of the console, exceptions, what its CSP refused. */
  readonly complaints: string[];
  /** Requests to anybody else. */
  readonly strayed: string[];
}

/** A headless Chromium whose network is that of a namespace. */
export class Browser implements AsyncDisposable {
  readonly #chromium: Chromium;

  private constructor(started: Chromium) {
    this.#chromium = started;
  }

  static async start(netns: Netns, dir: string, args: readonly string[] = []): Promise<Browser> {
    if (!existsSync(CHROMIUM)) throw new Error(`there is no ${CHROMIUM}: npm run setup`);
    const home = join(dir, 'chromium');
    mkdirSync(home, { recursive: true });
    const wrapper = join(home, 'chromium.sh');
    writeFileSync(wrapper, `#!/bin/sh\nexec nsenter --net=${netns.path} -- ${CHROMIUM} "$@"\n`);
    chmodSync(wrapper, 0o755);
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
    return new Browser(
      await chromium.launch({
        executablePath: wrapper,
        headless: true,
        args: [...ARGS, ...args],
        env: { ...(env as Record<string, string>), HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
      }),
    );
  }

  /** Open a page in a profile of its own. */
  async open(
    url: string,
    options: { dark?: boolean; width?: number; height?: number; init?: () => void } = {},
  ): Promise<OpenPage> {
    const context = await this.#chromium.newContext({
      colorScheme: options.dark ? 'dark' : 'light',
      viewport: { width: options.width ?? 1400, height: options.height ?? 1300 },
    });
    const page = await context.newPage();
    const { origin } = new URL(url);
    const complaints: string[] = [];
    const strayed: string[] = [];
    page.on('console', (message: ConsoleMessage) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
    });
    page.on('pageerror', (error: Error) => complaints.push(String(error)));
    page.on('crash', () => complaints.push('the page crashed'));
    context.on('request', (request) => {
      const to = request.url();
      if (origin === 'null' ? !to.startsWith('http://127.0.0.1:') : !to.startsWith(`${origin}/`))
        strayed.push(to);
    });
    if (options.init) await page.addInitScript(options.init);
    await page.goto(url);
    return { page, complaints, strayed };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#chromium.close();
  }
}

/** Escape, and wait until the dialog is gone: what is typed before goes to it. */
export async function closeDialog(page: Page): Promise<void> {
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
}
