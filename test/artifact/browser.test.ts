// A compiled model in a browser: the page of examples/web-chat in headless Chromium, on the software adapter. Text equals
// the golden one; downloads break, resume, are cached and verified; what a browser lacks is said. Pictures of the page
// are left in test-output/.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildPage } from '../../examples/web-chat/build.ts';
import { AutoModelForCausalLM, AutoTokenizer } from '../../runtime/index.ts';
import { launch, noBrowser, rechunk, Site } from '../support/browser.ts';
import { example, modelc, root } from '../support/command.ts';
import { material, readJson } from '../support/golden.ts';

const stories = join(material, 'lm', 'stories260K');
const checkpoint = existsSync(stories) ? join(stories, 'hf') : example;
const pictures = join(root, 'test-output');
const prompt = 'Once upon a time';
const tokens = 40;
const sizes = { desktop: { width: 1180, height: 800 }, phone: { width: 390, height: 780 } };

/** Prompt and greedy continuation: of the other library where there is material, else of this one on the CPU. */
async function goldenText(): Promise<string> {
  const tokenizer = await AutoTokenizer.from_pretrained(checkpoint);
  const decode = (ids: readonly number[]): string => tokenizer.decode(ids, { skip_special_tokens: true });
  if (checkpoint !== example) {
    const { ids, prompt_ids } = readJson<Record<'ids' | 'prompt_ids', number[]>>(join(stories, 'greedy100.json'));
    return decode(ids.slice(0, prompt_ids.length + tokens));
  }
  const model = await AutoModelForCausalLM.from_pretrained(checkpoint);
  const input_ids = [tokenizer.encode(prompt)];
  const output = await model.generate({ input_ids, max_new_tokens: tokens, do_sample: false });
  model.dispose();
  return decode(Array.from(output.data, Number));
}

const stateOf = (page: Page, state: string): Promise<void> =>
  page.locator(`#status[data-state=${state}]`).waitFor({ timeout: 60_000 });
const statusText = (page: Page): Promise<string> => page.getByRole('region', { name: 'Model' }).innerText();

/** Types a beginning, waits until the model has ended, and gives the last text of the page. */
async function continueText(page: Page, beginning = prompt): Promise<string> {
  await page.getByLabel('Beginning of a text').fill(beginning);
  await page.keyboard.press('Enter');
  return written(page);
}
async function written(page: Page): Promise<string> {
  const text = page.locator('article').last();
  await text.locator('.numbers').filter({ hasText: /token/ }).waitFor({ timeout: 60_000 });
  await page.locator('#transcript[aria-busy=false]').waitFor({ timeout: 60_000 });
  return (await text.locator('p').first().textContent()) ?? '';
}
async function setGreedy(page: Page, max = tokens): Promise<void> {
  await page.getByLabel('New tokens, at most').fill(String(max));
  await page.getByLabel('Sample').uncheck();
}

interface Visit {
  readonly address?: string;
  /** Bytes of the model that the site sends before connections break. */
  readonly budget?: number;
  /** What the console may call an error. */
  readonly expected?: RegExp;
  readonly before?: (page: Page) => Promise<unknown>;
}

describe.skipIf(noBrowser !== '')(`the page of examples/web-chat${noBrowser}`, () => {
  const scratch = mkdtempSync(join(tmpdir(), 'modelc-browser-'));
  const site = new Site();
  let browser: Browser;
  /** Somebody who comes back: what was downloaded stays. */
  let visitor: BrowserContext;
  let golden = '';
  let modelBytes = 0;

  beforeAll(async () => {
    const folder = join(scratch, 'site');
    await buildPage(join(root, 'examples', 'web-chat'), folder);
    const model = join(folder, 'model');
    const { status, stderr } = modelc(['compile', checkpoint, '--target', 'webgpu', '-o', model]);
    expect(status, stderr).toBe(0);
    modelBytes = await rechunk(model, 2 ** 16, ['subgroups']); // what the software adapter has
    golden = await goldenText();
    mkdirSync(pictures, { recursive: true });
    await site.open(folder);
    browser = await launch({ webgpu: true });
    visitor = await browser.newContext({ viewport: sizes.desktop });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    site.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  /** Opens the page. What the console calls an error fails the test, unless it is `expected`. */
  async function visit(
    context: BrowserContext,
    use: (page: Page) => Promise<void>,
    options: Visit = {},
  ): Promise<void> {
    const page = await context.newPage();
    await options.before?.(page);
    const errors: string[] = [];
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    page.on('pageerror', (error) => errors.push(error.message));
    site.answers = [];
    site.budget = options.budget ?? Number.POSITIVE_INFINITY;
    await page.goto(site.url + (options.address ?? ''));
    await use(page);
    await page.close();
    expect(errors.filter((text) => !options.expected?.test(text))).toEqual([]);
  }
  const picture = (page: Page, name: string) => page.screenshot({ path: join(pictures, `web-chat-${name}.png`) });

  test('says that the connection broke, goes on where the download ended, and writes what the golden says', async () => {
    const budget = Math.floor(modelBytes / 2);
    await visit(
      visitor,
      async (page) => {
        await stateOf(page, 'failed');
        const text = await statusText(page);
        expect(text).toMatch(/The connection broke\s.*[\d.]+ .B of [\d.]+ .B are here\. .*try again/s);
        await picture(page, 'broken');
        expect(site.bytes).toBe(budget);
        const kept = site.answers.reduce((sum, { isWhole, bytes }) => sum + (isWhole ? bytes : 0), 0);
        expect(kept).toBeGreaterThan(0);

        site.budget = Number.POSITIVE_INFINITY;
        site.answers = [];
        await page.getByRole('button', { name: 'Try again' }).click();
        await stateOf(page, 'ready');
        expect(site.bytes).toBe(modelBytes - kept);
        expect(await statusText(page)).toMatch(
          /Ready\s+[\d.]+ .B · \d+ KB from the network, the rest from the cache · [\d.]+ s/,
        );

        await setGreedy(page);
        expect(await continueText(page)).toBe(golden);
        const numbers = await page.locator('.numbers').innerText();
        expect(numbers).toMatch(new RegExp(`^${tokens} tokens · [\\d.]+ tokens/s · first after [\\d.]+ s$`));
        await look(page);
      },
      { budget, expected: /Failed to load resource/ },
    );
  });

  /** Takes pictures, and checks that nothing is wider than a phone. */
  async function look(page: Page): Promise<void> {
    for (const [name, size] of Object.entries(sizes)) {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.setViewportSize(size);
        await page.emulateMedia({ colorScheme });
        await picture(page, `${name}-${colorScheme}`);
      }
    }
    for (const width of [320, 390, 768]) {
      await page.setViewportSize({ width, height: 780 });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    }
  }

  /** Flips a bit of one thing that the cache holds; gives its size. */
  async function damageCache(context: BrowserContext): Promise<number> {
    const page = await context.newPage();
    await page.goto(`${site.url}icon.svg`); // anything of the site shares its cache
    const damaged = await page.evaluate(async () => {
      const [name] = await caches.keys();
      const cache = await caches.open(name);
      const request = (await cache.keys()).at(-1)!; // weights come last
      const bytes = new Uint8Array(await (await cache.match(request))!.arrayBuffer());
      bytes[bytes.length >> 1] ^= 1;
      await cache.put(request, new Response(bytes));
      return bytes.length;
    });
    await page.close();
    return damaged;
  }

  test('comes from the cache the next time, but for what was damaged there; stops, goes on and repeats a seed', async () => {
    const damaged = await damageCache(visitor);
    expect(damaged).toBeGreaterThan(0);
    await visit(visitor, async (page) => {
      await stateOf(page, 'ready');
      expect(site.bytes).toBe(damaged);
      expect(await statusText(page)).toMatch(/from the network, the rest from the cache/);
      await steer(page);
    });
  });

  /** Stops, goes on with what is there, and repeats a seed. */
  async function steer(page: Page): Promise<void> {
    await setGreedy(page, 150);
    await page.getByRole('button', { name: 'Once upon a time' }).click();
    await page.locator('.numbers').filter({ hasText: 'tokens' }).waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    const half = await written(page);
    expect(half.startsWith(prompt)).toBe(true);
    const numbers = await page.locator('.numbers').innerText();
    expect(numbers).toMatch(/· stopped$/);
    expect(Number.parseInt(numbers, 10)).toBeLessThan(150);

    await setGreedy(page, 10);
    await page.getByRole('button', { name: 'Go on' }).click();
    await page
      .locator('.numbers')
      .filter({ hasText: /^10 tokens/ })
      .waitFor();
    const more = await written(page);
    expect(more.startsWith(half)).toBe(true);
    expect(more.length).toBeGreaterThan(half.length);

    await page.getByLabel('Sample').check();
    await page.getByLabel('Temperature').fill('1.5');
    await page.getByLabel('Seed').fill('7');
    const first = await continueText(page);
    expect(await page.locator('.numbers').last().innerText()).toMatch(/seed 7$/);
    expect(await continueText(page)).toBe(first);
    await page.getByLabel('Seed').fill('8');
    expect(await continueText(page)).not.toBe(first);
  }

  test('works without a cache where there is no room, and says so', async () => {
    const context = await browser.newContext();
    await visit(
      context,
      async (page) => {
        await stateOf(page, 'ready');
        expect(site.bytes).toBe(modelBytes);
        expect(await page.locator('#warning').innerText()).toMatch(/full.*free some space/);
        await setGreedy(page, 10);
        const text = await continueText(page);
        expect(golden.startsWith(text) && text.length > prompt.length, text).toBe(true);
      },
      {
        before: async (page) => {
          const client = await context.newCDPSession(page);
          const { origin } = new URL(site.url);
          await client.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: modelBytes / 4 });
        },
      },
    );
    await context.close();
  });

  test('says what a browser lacks, and downloads nothing then', async () => {
    const without = await launch({ webgpu: false });
    try {
      const notice = async (page: Page): Promise<string> => {
        await stateOf(page, 'failed');
        expect(site.answers).toEqual([]);
        expect(await page.getByRole('button', { name: 'Continue this text' }).isDisabled()).toBe(true);
        return statusText(page);
      };
      const context = await without.newContext();
      await visit(context, async (page) => {
        expect(await notice(page)).toMatch(/WebGPU finds no graphics adapter.*hardware acceleration/s);
      });
      const before = (page: Page): Promise<unknown> =>
        page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined }));
      const says = async (page: Page): Promise<void> => {
        expect(await notice(page)).toMatch(/This browser has no WebGPU.*Chrome or Edge/s);
      };
      await visit(context, says, { before });
    } finally {
      await without.close();
    }
  });

  test('runs code of its own site only, and says what is no model', async () => {
    const elsewhere = 'https://models.invalid/index.js';
    const use = async (page: Page): Promise<void> => {
      await stateOf(page, 'failed');
      expect(await statusText(page)).toMatch(/The model is on another site.*http:\/\/localhost/s);
      const cases = [
        ['./nothing/index.js', /There is no model at this address.*\/nothing\/index\.js/s],
        ['data:text/javascript,alert(1)', /The model is on another site/],
        ['./page.js', /This is no compiled model.*\/page\.js/s],
        ['https://[', /The model is on another site/],
      ] as const;
      for (const [address, message] of cases) {
        await page.getByLabel('Address of a compiled model').fill(address);
        await page.getByRole('button', { name: 'Load' }).click();
        await page.getByRole('region', { name: 'Model' }).filter({ hasText: message }).waitFor();
        expect(new URL(page.url()).searchParams.get('model')).toBe(address);
      }
      const evaluate = (): Promise<string> =>
        new Promise((resolve) => {
          const attempt = (): void => {
            try {
              resolve(new Function('return "evaluated"')());
            } catch (error) {
              resolve(String(error));
            }
          };
          setTimeout(attempt); // on the page's own account: what the driver runs is exempt from the policy
        });
      const evaluated = await page.evaluate(evaluate);
      expect(evaluated).toMatch(/^EvalError/);
      // as text: the test runner rewrites imports
      const imported = await page.evaluate(`import('${elsewhere}').then(String, String)`);
      expect(imported).toMatch(/^TypeError/);
    };
    const context = await browser.newContext();
    const address = `?model=${encodeURIComponent(elsewhere)}`;
    await visit(context, use, { address, expected: /404|Content Security Policy/ });
    await context.close();
  });
});
