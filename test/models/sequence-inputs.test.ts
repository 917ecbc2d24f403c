// Columns of a batch to the inputs of a task: dtypes, columns that are filled in, and decoder inputs from labels.
import { expect, test } from 'vitest';
import type { SequenceInput } from '../../frontends/dsl/index.ts';
import { completeInputs } from '../../runtime/models/sequence-inputs.ts';
import type { HostTensor } from '../../runtime/tensors/host-tensor.ts';

const ids = (shape: number[], data: number[]): HostTensor => ({
  dtype: 'i64',
  shape,
  data: BigInt64Array.from(data, BigInt),
});
const inputs: SequenceInput[] = [
  { name: 'input_ids', dtype: 'i32', axes: ['batch', 'seq'] },
  { name: 'attention_mask', dtype: 'bool', axes: ['batch', 'seq'], fill: 1 },
  {
    name: 'decoder_input_ids',
    dtype: 'i32',
    axes: ['batch', 'target'],
    shifted: { from: 'labels', start: 7, pad: 0 },
  },
];

test('absent columns are filled, and decoder inputs are labels one place to the right', () => {
  const complete = completeInputs(inputs, {
    input_ids: ids([2, 2], [1, 2, 3, 4]),
    labels: ids([2, 3], [5, 6, -100, 8, -100, -100]),
  });
  expect(complete).toEqual({
    input_ids: { dtype: 'i32', shape: [2, 2], data: Int32Array.of(1, 2, 3, 4) },
    attention_mask: { dtype: 'bool', shape: [2, 2], data: Uint8Array.of(1, 1, 1, 1) },
    decoder_input_ids: { dtype: 'i32', shape: [2, 3], data: Int32Array.of(7, 5, 6, 7, 8, 0) },
  });
});

test('given columns win and are read as the task declares them', () => {
  const { attention_mask, decoder_input_ids } = completeInputs(inputs, {
    input_ids: ids([1, 2], [1, 2]),
    attention_mask: ids([1, 2], [1, 0]),
    decoder_input_ids: ids([1, 1], [9]),
    labels: ids([1, 1], [5]),
  });
  expect(attention_mask).toEqual({ dtype: 'bool', shape: [1, 2], data: Uint8Array.of(1, 0) });
  expect(decoder_input_ids).toEqual({ dtype: 'i32', shape: [1, 1], data: Int32Array.of(9) });
});

test('what is missing or has another shape is named', () => {
  const one = ids([1, 2], [1, 2]);
  expect(() => completeInputs(inputs, { input_ids: one })).toThrow('the model needs decoder_input_ids');
  expect(() => completeInputs(inputs, { input_ids: one, attention_mask: ids([1, 1], [1]), labels: one })).toThrow(
    'attention_mask must have the shape [batch 1, seq 2], but has [1, 1]',
  );
  const half: HostTensor = { dtype: 'f32', shape: [1, 1], data: Float32Array.of(0.5) };
  expect(() => completeInputs(inputs, { input_ids: half, labels: one })).toThrow('input_ids must hold integers');
});

test('decoder inputs that begin with the last label of their row, which names the language', () => {
  const labels: SequenceInput = { name: 'labels', dtype: 'i32', axes: ['batch', 'target'] };
  const shifted = { from: 'labels', start: 'last', pad: 1 } as const;
  const target: SequenceInput = { name: 'decoder_input_ids', dtype: 'i32', axes: ['batch', 'target'], shifted };
  const { decoder_input_ids } = completeInputs([labels, target], { labels: ids([2, 3], [5, 2, 9, 6, 8, -100]) });
  expect(decoder_input_ids.data).toEqual(Int32Array.of(9, 5, 2, 8, 6, 8));
});
