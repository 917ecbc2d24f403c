// The example model: what it learned from, and that it tells stories.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tellStories } from '../../examples/storyteller/stories.ts';
import { AutoTokenizer } from '../../runtime/index.ts';
import { modelc, root } from '../support/command.ts';

const folder = join(root, 'examples', 'storyteller');

test('the grammar tells the same stories for the same seed, and the model has positions for each of them', async () => {
  const stories = tellStories(300, 7);
  expect(tellStories(300, 7)).toEqual(stories);
  expect(tellStories(300, 8)).not.toEqual(stories);
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const { max_position_embeddings } = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  for (const story of stories) {
    const ids = tokenizer.encode(story);
    expect(ids.length).toBeLessThan(max_position_embeddings);
    expect(tokenizer.decode(ids)).toBe(story);
  }
});

test('the model fits into a repository', () => {
  expect(statSync(join(folder, 'model.safetensors')).size).toBeLessThan(3e6);
});

test.each([
  ['the likeliest one', ['--greedy']],
  ['one that is drawn', ['--seed', '1']],
])('the model tells a story: %s', (_, options) => {
  const { status, stdout } = modelc([
    'generate',
    folder,
    '-p',
    'Once upon a time',
    '--max-new-tokens',
    '240',
    ...options,
  ]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^Once upon a time, [\s\S]+\nThe end\.\n$/);
  const hero = /named (\w+)|name was (\w+)/.exec(stdout)?.slice(1).find(Boolean) ?? '';
  expect(stdout.split(hero).length, `${hero} in: ${stdout}`).toBeGreaterThan(4);
});
