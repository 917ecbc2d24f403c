// The page of a training's curve in Chromium: what the pointer shows, phone width, the dark scheme, hostile names. It leaves
// pictures in test-output/.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { curveHtml } from '../../runtime/trainer/curve-page.ts';
import { launch, noBrowser } from '../support/browser.ts';
import { root } from '../support/command.ts';

const pictures = join(root, 'test-output');
const history = Array.from({ length: 100 }, (_, i) => {
  const step = (i + 1) * 10;
  const noise = Math.sin(i * 12.9898) * 0.12;
  const log = { step, loss: 1.2 + 3.4 * Math.exp(-i / 22) + noise, grad_norm: 1, learning_rate: 5e-4 * (1 - i / 100) };
  return i % 20 === 19 ? [log, { step, eval_loss: 1.35 + 3.3 * Math.exp(-i / 22) }] : [log];
}).flat();
const hostile = '</title><script>document.title = "taken"</script>"><img src=x onerror=alert(1)>';

describe.skipIf(noBrowser !== '')(`the page of a curve${noBrowser}`, () => {
  let browser: Browser;
  beforeAll(async () => {
    mkdirSync(pictures, { recursive: true });
    browser = await launch({ webgpu: false });
  });
  afterAll(() => browser.close());

  async function open(html: string, width: number, colorScheme: 'light' | 'dark', name: string): Promise<Page> {
    const path = join(pictures, `${name}.html`);
    writeFileSync(path, html);
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
    await page.goto(pathToFileURL(path).href);
    return page;
  }
  const html = curveHtml(history, { title: 'storyteller', model: 'LlamaForCausalLM' });

  test.each([360, 800, 1400])('at %i pixels, light and dark', async (width) => {
    for (const scheme of ['light', 'dark'] as const) {
      const page = await open(html, width, scheme, 'curve');
      const size = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
      expect(size[0]).toBeLessThanOrEqual(size[1]);
      const paper = await page.evaluate(() => {
        const svg = [...document.querySelectorAll('svg')].find((s) => s.getBoundingClientRect().width > 0)!;
        return [getComputedStyle(document.body).backgroundColor, getComputedStyle(svg.querySelector('rect')!).fill];
      });
      expect(paper).toEqual(Array(2).fill(scheme === 'dark' ? 'rgb(15, 23, 42)' : 'rgb(255, 255, 255)'));
      const plot = page.locator('.plot:visible');
      expect(await plot.count()).toBe(1);
      // The smallest letters of the picture can be read.
      const letters = await plot.locator('text').first().boundingBox();
      expect(letters!.height).toBeGreaterThan(11);
      const frame = (await plot.boundingBox())!;
      await page.mouse.move(frame.x + frame.width / 2, frame.y + frame.height / 2);
      const shown = await page.locator('output').innerText();
      expect(shown).toMatch(/^step (\d{3})\nloss [\d.]+\neval_loss [\d.]+( \(step \d+\))?\ngrad_norm 1\nlearning_rate 2\.\d+e-4$/);
      const step = Number(/step (\d+)/.exec(shown)![1]);
      const logged = history.find((entry) => entry.step === step && 'loss' in entry) as { loss: number };
      expect(shown).toContain(`loss ${Number(logged.loss.toPrecision(4))}`);
      const box = (await page.locator('output').boundingBox())!;
      expect(box.x).toBeGreaterThanOrEqual(0);
      expect(box.x + box.width).toBeLessThanOrEqual(width);
      await page.screenshot({ path: join(pictures, `curve-${width}-${scheme}.png`) });
      await page.mouse.move(frame.x + frame.width / 2, frame.y + frame.height + 60);
      expect(await page.locator('output').isHidden()).toBe(true);
      await page.close();
    }
  }, 60_000); // biome-ignore format: one call

  test('has one row for a step, and names are text', async () => {
    const page = await open(curveHtml(history, { title: hostile, model: hostile }), 360, 'light', 'curve-hostile');
    expect(await page.title()).toBe(`${hostile} · ${hostile}`);
    expect(await page.locator('h1').innerText()).toBe(hostile);
    expect(await page.locator('img, script').count()).toBe(1);
    expect(await page.locator('tbody tr').count()).toBe(100);
    expect(await page.locator('tbody tr').nth(19).locator('td').allInnerTexts()).toHaveLength(5);
    expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
    await page.close();
  });
});

test('the page asks for nothing from outside, and numbers that are none stay in the table', () => {
  const html = curveHtml([
    { step: 1, loss: Number.NaN, learning_rate: 1e-4 },
    { step: 2, loss: 3 },
  ]);
  expect(html).not.toMatch(/https?:\/\/(?!www\.w3\.org)|src=|@import|url\(/);
  expect(html).toContain('<tr><td>1</td><td>NaN</td><td>1e-4</td></tr>');
  expect(html).toContain('[1,null,0.0001]');
  expect(curveHtml([])).toContain('nothing was logged yet');
});
