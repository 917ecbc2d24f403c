// `modelc train` as users run it: a new model, a run that is interrupted and goes on, an adapter, and what is wrong with
// configs and texts.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tellStories } from '../../examples/storyteller/stories.ts';
import { cli, modelc } from '../support/command.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-cli-train-'));
  const rows = tellStories(40, 1).map((text) => JSON.stringify({ text }));
  writeFileSync(join(folder, 'stories.jsonl'), rows.join('\n'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Json = Readonly<Record<string, unknown>>;

const llama = {
  model_type: 'llama',
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
};
/** A config of a run of 12 steps, with its file. */
function configOf(name: string, changes: { training?: Json; data?: Json } & Json = {}): string {
  const path = join(folder, `${name}.json`);
  const { training, data, ...rest } = changes;
  const config = {
    model: llama,
    tokenizer: { vocab_size: 320 },
    data: { train: 'stories.jsonl', block_size: 32, ...data },
    training: { output_dir: name, max_steps: 12, save_steps: 6, learning_rate: 0.01, ...training },
    ...rest,
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}
const at = (...names: string[]): string => join(folder, ...names);
const read = (...names: string[]): Json => JSON.parse(readFileSync(at(...names), 'utf8')) as Json;

function succeed(args: readonly string[]): string {
  const { status, stderr, stdout } = modelc(args);
  expect(stderr).not.toContain('modelc:');
  expect(status).toBe(0);
  return stdout + stderr;
}

/** Starts a training and interrupts it when this text is there. */
async function interruptAt(text: string, args: readonly string[]): Promise<{ code: number | null; stderr: string }> {
  const child: ChildProcess = spawn(process.execPath, [cli, 'train', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr?.on('data', (data) => {
    if (!stderr.includes(text) && `${stderr}${data}`.includes(text)) child.kill('SIGINT');
    stderr += data;
  });
  const code = await new Promise<number | null>((done) => child.once('exit', done));
  return { code, stderr };
}

describe('a new model', () => {
  let said = '';
  beforeAll(() => {
    said = succeed(['train', configOf('new', { data: { eval_part: 0.1 } })]);
  }, 600_000);

  test('is described, trained and evaluated; its loss falls', () => {
    expect(said).toMatch(/^tokenizer {2}320 tokens, learned from the texts\n/);
    expect(said).toMatch(/^data {7}40 texts: \d+ blocks of 32 tokens, \d+ for evaluation$/m);
    expect(said).toMatch(/^model {6}a new llama, [\d,]+ parameters$/m);
    expect(said).toMatch(/^step 12 of 12: loss /m);
    const history = read('new', 'trainer_state.json').log_history as { loss?: number; eval_loss?: number }[];
    const losses = history.flatMap(({ loss }) => loss ?? []);
    expect(losses.length).toBe(12);
    expect(losses[11]).toBeLessThan(losses[0] - 0.5);
    expect(history.flatMap(({ eval_loss }) => eval_loss ?? []).length).toBe(6);
  });
  test('is saved with its tokenizer, checkpoints and curve', () => {
    const names = [
      'config.json',
      'model.safetensors',
      'tokenizer.json',
      'trainer_state.json',
      'curve.svg',
      'curve.html',
    ];
    expect(readdirSync(at('new'))).toEqual(expect.arrayContaining([...names, 'checkpoint-6', 'checkpoint-12']));
    expect(readFileSync(at('new', 'curve.svg'), 'utf8')).toContain('eval_loss');
    expect(read('new', 'config.json')).toMatchObject({ ...llama, vocab_size: 320, eos_token_id: 0 });
  });
  test('generates at once, as the run says at its end', () => {
    const command = /^try {8}modelc (generate .*)$/m.exec(said)?.[1] ?? '';
    expect(command).toContain("-p 'Once upon a time,'");
    const { status, stdout } = modelc(['generate', at('new'), '-p', 'Once upon a time', '--max-new-tokens', '8']);
    expect([status, stdout.startsWith('Once upon a time')]).toEqual([0, true]);
  });
  test('is not mixed with another run in the same folder', () => {
    const { status, stderr } = modelc(['train', configOf('new')]);
    expect([status, stderr]).toEqual([
      1,
      expect.stringContaining('has checkpoints of an earlier training; go on from'),
    ]);
  });

  test('has the same weights after an interrupt and --resume', async () => {
    const config = configOf('stopped', { data: { eval_part: 0.1 } });
    const { code, stderr } = await interruptAt('step 2 of 12', [config]);
    expect(code).toBe(130);
    const [, saved, step] =
      /interrupted; (\S*checkpoint-(\d+)) is saved, and `modelc train \S+ --resume` goes on/.exec(stderr) ?? [];
    expect(existsSync(at('stopped', `checkpoint-${step}`, 'optimizer.safetensors')), saved).toBe(true);
    expect(Number(step)).toBeGreaterThanOrEqual(2);
    expect(Number(step)).toBeLessThan(12);
    expect(existsSync(at('stopped', 'model.safetensors'))).toBe(false);
    expect(succeed(['train', config, '--resume'])).toContain(`resumed    from `);
    expect(readFileSync(at('stopped', 'model.safetensors'))).toEqual(readFileSync(at('new', 'model.safetensors')));
    expect(readFileSync(at('stopped', 'tokenizer.json'))).toEqual(readFileSync(at('new', 'tokenizer.json')));
  }, 600_000);

  test('an adapter on it is trained, saved by itself, and generates; --resume takes a folder', () => {
    const changes = { model: 'new', tokenizer: undefined, lora: { r: 2, target_modules: ['q_proj', 'v_proj'] } };
    const config = configOf('adapter', changes);
    expect(succeed(['train', config])).toMatch(/^adapter {4}rank 2, [\d,]+ parameters$/m);
    expect(existsSync(at('adapter', 'model.safetensors'))).toBe(false);
    expect(read('adapter', 'adapter_config.json')).toMatchObject({ r: 2, base_model_name_or_path: at('new') });
    const whole = readFileSync(at('adapter', 'adapter_model.safetensors'));
    succeed(['train', config, '--resume', at('adapter', 'checkpoint-6')]);
    expect(readFileSync(at('adapter', 'adapter_model.safetensors'))).toEqual(whole);
    const { status, stdout } = modelc(['generate', at('adapter'), '-p', 'Once upon a time', '--max-new-tokens', '8']);
    expect([status, stdout.startsWith('Once upon a time')]).toEqual([0, true]);
  }, 600_000);

  test('a model that is given is trained on; much text is tokenized in threads', () => {
    const rows = tellStories(400, 2).map((text) => JSON.stringify({ text }));
    writeFileSync(at('more.jsonl'), rows.join('\n'));
    const config = configOf('further', {
      model: 'new',
      tokenizer: undefined,
      data: { train: 'more.jsonl', eval: 'stories.jsonl' },
      training: { max_steps: 2 },
    });
    expect(succeed(['train', config])).toMatch(/^data {7}400 texts: \d,\d+ blocks of 32 tokens, \d+ for evaluation$/m);
  }, 600_000);
});

describe('what is wrong', () => {
  const fails = (name: string, changes: Parameters<typeof configOf>[1], args: readonly string[] = []): string => {
    const { status, stderr } = modelc(['train', configOf(name, changes), ...args]);
    expect(status).toBe(1);
    expect(existsSync(at(name))).toBe(false);
    return stderr;
  };
  test('in the config is said before anything is read', () => {
    const base = { data: { train: 'none.jsonl' } };
    expect(fails('bad', { ...base, training: { max_step: 3 } })).toBe(
      `modelc: ${at('bad.json')}: training: TrainingArguments has no field max_step; did you mean \`max_steps\`?\n`,
    );
    expect(fails('bad', { ...base, lora: { r: 2 } })).toContain('bad.json: lora: an adapter needs a checkpoint');
    expect(fails('bad', { ...base, model: 'new', tokenizer: undefined, lora: { rank: 2 } })).toContain(
      'bad.json: lora: ',
    );
    expect(fails('bad', { ...base, model: { model_type: 'lama' } })).toContain("bad.json: model has model_type 'lama'");
    expect(fails('bad', base, ['--resume'])).toContain('has no checkpoint to resume from; leave --resume out');
  }, 600_000);
  test('with texts, tokenizer and model is said in one sentence', () => {
    expect(fails('bad', { data: { train: 'none.jsonl' } })).toContain('none.jsonl');
    expect(fails('bad', { data: { text_column: 'story' } })).toContain('there is no column "story"; there are: text');
    expect(fails('bad', { data: { block_size: 100_000 } })).toContain('which fill no block of 100000');
    expect(fails('bad', { tokenizer: { vocab_size: 3 } })).toContain('vocab_size must be an integer from 257');
    expect(fails('bad', { model: { ...llama, vocab_size: 300 } })).toContain(
      'the tokenizer has 320 tokens, but the model has a vocab_size of 300',
    );
    expect(fails('bad', { model: { ...llama, max_position_embeddings: 16 } })).toContain(
      'data.block_size is 32, but the model has positions for 16',
    );
    mkdirSync(at('empty'));
    expect(fails('bad', { model: 'empty', tokenizer: undefined })).toMatch(/^modelc: .*empty/m);
  }, 600_000);
});
