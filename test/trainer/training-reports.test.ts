// What a training shows: the progress bar, TensorBoard's event files, and the curve.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TrainingArguments } from '../../runtime/trainer/arguments.ts';
import { CurveCallback } from '../../runtime/trainer/callbacks/curve.ts';
import { crc32c } from '../../runtime/trainer/callbacks/event-file.ts';
import { duration, ProgressCallback } from '../../runtime/trainer/callbacks/progress.ts';
import { TensorBoardCallback } from '../../runtime/trainer/callbacks/tensorboard.ts';
import type { CallbackContext } from '../../runtime/trainer/callbacks.ts';
import { curveSvg } from '../../runtime/trainer/curve.ts';
import { curveHtml } from '../../runtime/trainer/curve-page.ts';
import { type Metrics, TrainerControl, TrainerState } from '../../runtime/trainer/trainer-state.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-reports-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const control = new TrainerControl();
const context = (logs?: Metrics): CallbackContext => ({
  model: undefined,
  processing_class: undefined,
  optimizer: undefined,
  lr_scheduler: undefined,
  train_dataloader: undefined,
  eval_dataloader: { length: 4 },
  ...(logs && { logs }),
});
function stateAt(global_step: number, max_steps = 200): TrainerState {
  return Object.assign(new TrainerState(), { global_step, max_steps });
}

describe('the progress bar', () => {
  const args = new TrainingArguments({ output_dir: 'unused' });
  function drawn(
    isTTY: boolean,
    columns?: number,
  ): { callback: ProgressCallback; at: (s: number) => void; lines: string[] } {
    const lines: string[] = [];
    let now = 0;
    const stream = { isTTY, ...(columns && { columns }), write: (text: string) => lines.push(text) };
    const at = (seconds: number): void => {
      now = seconds;
    };
    return { callback: new ProgressCallback({ stream, clock: () => now }), at, lines };
  }

  test('on a terminal: share, steps, loss, speed and the time that is left, on one line', () => {
    const { callback, at, lines } = drawn(true, 200);
    callback.on_train_begin(args, stateAt(0));
    for (let step = 1; step <= 100; step++) {
      at(step / 2);
      callback.on_step_end(args, stateAt(step));
    }
    callback.on_log(args, stateAt(100), control, context({ loss: 1.23456, learning_rate: 5e-5, total_flos: 1 }));
    expect(lines.at(-2)).toBe('\r\u001b[Kstep 100 of 200: loss 1.235, learning_rate 0.00005\n');
    expect(lines.at(-1)).toBe(
      `\r\u001b[K 50 % ${'\u2588'.repeat(10)}${'\u2591'.repeat(10)} 100/200  loss 1.235, 2 steps/s, 50 s left`,
    );
    for (let batch = 0; batch < 4; batch++) {
      at(50 + batch);
      callback.on_prediction_step(args, stateAt(100), control, context());
    }
    expect(lines.at(-1)).toContain('evaluating batch 4 of 4');
    callback.on_evaluate(args, stateAt(100));
    expect(lines.at(-1)).toContain('2 steps/s'); // the evaluation does not count
  });
  test('a narrow terminal gets no second line, and drawings are no more than ten a second', () => {
    const { callback, at, lines } = drawn(true, 20);
    callback.on_train_begin(args, stateAt(0));
    for (let step = 1; step <= 100; step++) {
      at(step / 100);
      callback.on_step_end(args, stateAt(step));
    }
    expect(lines.length).toBeLessThanOrEqual(12);
    for (const line of lines) expect(line.replace('\r\u001b[K', '').length).toBeLessThan(20);
  });
  test('elsewhere: a line for each log and nothing else', () => {
    const { callback, at, lines } = drawn(false);
    callback.on_train_begin(args, stateAt(0));
    at(10);
    callback.on_step_end(args, stateAt(1));
    callback.on_prediction_step(args, stateAt(1), control, context());
    callback.on_log(args, stateAt(1), control, context({ loss: 2 }));
    callback.on_train_end(args, stateAt(200));
    expect(lines).toEqual(['step 1 of 200: loss 2, 10 s/step, 33 min 10 s left\n']);
  });
  test('times', () => {
    expect([0.4, 59, 61, 3600, 90061].map(duration)).toEqual([
      '0 s',
      '59 s',
      '1 min 01 s',
      '1 h 00 min',
      '25 h 01 min',
    ]);
  });
});

describe('TensorBoard', () => {
  /** The fields of a message, by their numbers; nested messages stay bytes. */
  function fieldsOf(bytes: Uint8Array): Map<number, (number | bigint | Uint8Array)[]> {
    const reader = protobuf.Reader.create(bytes);
    const fields = new Map<number, (number | bigint | Uint8Array)[]>();
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      const wire = tag & 7;
      const value =
        wire === 1 ? reader.double() : wire === 5 ? reader.float() : wire === 0 ? reader.uint32() : reader.bytes();
      fields.set(tag >>> 3, [...(fields.get(tag >>> 3) ?? []), value]);
    }
    return fields;
  }
  const unmask = (crc: number): number => {
    const rotated = (crc - 0xa282ead8) >>> 0;
    return ((rotated >>> 17) | (rotated << 15)) >>> 0;
  };
  function recordsOf(path: string): Uint8Array[] {
    const file = readFileSync(path);
    const records: Uint8Array[] = [];
    for (let at = 0; at < file.length; ) {
      const length = Number(file.readBigUInt64LE(at));
      const data = file.subarray(at + 12, at + 12 + length);
      expect(unmask(file.readUInt32LE(at + 8))).toBe(crc32c(file.subarray(at, at + 8)));
      expect(unmask(file.readUInt32LE(at + 12 + length))).toBe(crc32c(data));
      records.push(data);
      at += length + 16;
    }
    return records;
  }

  test('the checksum is CRC-32C', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });
  test('an event file holds what was logged, record by record', () => {
    const output_dir = join(folder, 'board');
    const args = new TrainingArguments({ output_dir });
    const callback = new TensorBoardCallback();
    callback.on_train_begin(args, stateAt(0));
    callback.on_log(args, stateAt(10), control, context({ loss: 1.5, learning_rate: 0.25 }));
    callback.on_log(args, stateAt(70_000), control, context({ eval_loss: 2 }));
    callback.on_train_end();
    const [run] = readdirSync(join(output_dir, 'runs'));
    const [name] = readdirSync(join(output_dir, 'runs', run));
    expect(name).toMatch(/^events\.out\.tfevents\.\d+\./);
    const events = recordsOf(join(output_dir, 'runs', run, name)).map(fieldsOf);
    expect(String(events[0].get(3)?.[0])).toBe('brain.Event:2');
    expect(Number(events[0].get(1)?.[0])).toBeCloseTo(Date.now() / 1000, -2);
    const scalars = events.slice(2).map((event) => {
      const value = fieldsOf(fieldsOf(event.get(5)?.[0] as Uint8Array).get(1)?.[0] as Uint8Array);
      return [event.get(2)?.[0], String(value.get(1)?.[0]), value.get(2)?.[0]];
    });
    expect(scalars).toEqual([
      [10, 'train/loss', 1.5],
      [10, 'train/learning_rate', 0.25],
      [70_000, 'eval/loss', 2],
    ]);
  });
  test('a folder that cannot be written is said', () => {
    const args = new TrainingArguments({ output_dir: '/dev/null/x' });
    expect(() => new TensorBoardCallback().on_train_begin(args, stateAt(0))).toThrow('event file cannot be written');
  });
});

describe('the curve', () => {
  const history = Array.from({ length: 5000 }, (_, i) => ({
    step: i + 1,
    loss: 5 / (1 + i / 100),
    learning_rate: 1e-3,
  }));
  const evaluated = [...history, { step: 2500, eval_loss: 2 }, { step: 5000, eval_loss: Number.NaN }];

  test('has a line for each series, over all steps, of no more points than a screen shows', () => {
    const svg = curveSvg(evaluated, 'A < B & C');
    const lines = [...svg.matchAll(/<path d="M[^"]*" fill="none"/g)].map(([path]) => path);
    expect(lines).toHaveLength(3);
    expect((lines[0].match(/L/g) ?? []).length).toBeGreaterThan(300);
    expect((lines[0].match(/L/g) ?? []).length).toBeLessThanOrEqual(800);
    expect((lines[1].match(/L/g) ?? []).length).toBe(0);
    expect(svg.match(/<circle/g)).toHaveLength(1);
    expect(svg).toContain('A &lt; B &amp; C');
    expect(svg).toContain('eval_loss 2');
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  });
  test('is drawn of anything that was logged, and of nothing', () => {
    for (const entries of [[], [{ step: 1, loss: 0 }], [{ step: 3, loss: -1e-9, learning_rate: 0 }]]) {
      expect(curveSvg(entries)).not.toMatch(/NaN|undefined|Infinity/);
    }
    expect(curveSvg([])).toContain('nothing was logged yet');
  });
  test('the page holds the picture and the numbers', () => {
    const html = curveHtml([
      { step: 1, loss: 4.5, grad_norm: 1, learning_rate: 1e-4 },
      { step: 1, eval_loss: 4.25 },
    ]);
    expect(html).toContain('<svg');
    expect(html).toContain('<th>step</th><th>loss</th><th>eval_loss</th><th>grad_norm</th><th>learning_rate</th>');
    expect(html).toContain('<tr><td>1</td><td>4.5</td><td>4.25</td><td>1</td><td>1e-4</td></tr>');
  });
  test('the callback keeps both files in output_dir', () => {
    const output_dir = join(folder, 'curve');
    const state = Object.assign(stateAt(1), { log_history: [{ step: 1, loss: 2 }] });
    const model = { config: { architectures: ['LlamaForCausalLM'] } };
    const context = { model } as unknown as CallbackContext;
    new CurveCallback({ title: 'Stories' }).on_train_end(new TrainingArguments({ output_dir }), state, new TrainerControl(), context); // biome-ignore format: one row
    expect(readFileSync(join(output_dir, 'curve.html'), 'utf8')).toContain('<title>Stories · LlamaForCausalLM</title>');
    expect(readFileSync(join(output_dir, 'curve.svg'), 'utf8')).toContain('Stories');
    expect(readFileSync(join(output_dir, 'curve.html'), 'utf8')).toContain('<td>2</td>');
  });
});
