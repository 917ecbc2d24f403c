// A model that reads whole sequences at once, as users of transformers know it: called with the columns of a batch, it
// gives tensors by name. It knows executors, not compilers.
import type { SequenceTask } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { type NestedList, Tensor, type TensorTypeName } from '../tensors/tensor.ts';
import { BoundModel } from './bound-model.ts';
import { callable } from './callable.ts';
import { unservedInputs } from './forward-options.ts';
import { completeInputs } from './sequence-inputs.ts';

/** A column of a batch: a tensor, or nested lists of numbers; a row alone is a batch of one. */
export type Column = Tensor | readonly (number | bigint)[] | readonly (readonly (number | bigint)[])[];

/** Columns by name, and what to give besides the logits. */
export interface SequenceInputs {
  /** Token ids [batch, length]; needed where the model reads texts. */
  input_ids?: Column | null;
  /** Of models of images: [batch, channels, height, width]. */
  pixel_values?: Tensor | null;
  /** 1 for real tokens, 0 for padding, [batch, length] (all 1). */
  attention_mask?: Column | null;
  /** Which text of a pair a token is of, [batch, length] (all 0). Only where the encoder has token types. */
  token_type_ids?: Column | null;
  /** Of models with a decoder: what it reads; made of the labels where it is absent. */
  decoder_input_ids?: Column | null;
  /** 1 for real tokens of the target, 0 for padding, [batch, length] (all 1). */
  decoder_attention_mask?: Column | null;
  /** Given labels, the output has a `loss`. */
  labels?: Column | null;
  /** Of question answering: where the answers start, [batch]; with `end_positions` the result has a loss. */
  start_positions?: Column | null;
  /** Of question answering: where the answers end, [batch]. */
  end_positions?: Column | null;
  /** Whether the result has hidden states (false). */
  output_hidden_states?: boolean;
}

/** Given labels: the loss, a scalar. */
interface LossOutput {
  /** The mean over labels, a scalar; only where labels were given. */
  /** The mean over labels, a scalar; only where labels were given. */
  loss?: Tensor<'float32'>;
}
interface CommonOutput extends LossOutput {
  /** The embeddings, then each layer's output: [batch, length, hidden]. */
  hidden_states?: Tensor<'float32'>[];
}
/** What a model with a head gives. */
export interface LogitsOutput extends CommonOutput {
  /** [batch, length, vocab or classes], or of sequence classification [batch, classes]. */
  logits: Tensor<'float32'>;
}
/** What a model that finds answers gives. */
export interface SpanOutput extends CommonOutput {
  /** Scores of each token as the answer's first, [batch, length]. */
  start_logits: Tensor<'float32'>;
  /** Scores of each token as the answer's last, [batch, length]. */
  end_logits: Tensor<'float32'>;
}
/** Of models with an encoder and a decoder. */
export interface Seq2SeqLMOutput extends LossOutput {
  /** [batch, target length, vocab] */
  logits: Tensor<'float32'>;
  /** [batch, source length, hidden] */
  encoder_last_hidden_state: Tensor<'float32'>;
  /** The embeddings, then each layer's output, of either side. */
  encoder_hidden_states?: Tensor<'float32'>[];
  /** The embeddings of the target, then each layer's output, each [batch, length, hidden]. */
  decoder_hidden_states?: Tensor<'float32'>[];
}
/** What an encoder without a head gives. */
export interface EncoderOutput extends CommonOutput {
  /** [batch, length, hidden] */
  last_hidden_state: Tensor<'float32'>;
  /** What stands for the whole sequence, [batch, hidden], where the model has such a layer. */
  pooler_output?: Tensor<'float32'>;
}

/** What the runtime must know of a model and its task. */
export interface SequenceModelInfo extends Pick<SequenceTask, 'inputs' | 'labels'> {
  readonly vocabSize: number;
}

export class SequenceToTensors<O> extends BoundModel<SequenceModelInfo> {
  /**
   * Runs the model on a batch. Throws ModelcError 'input' for a column that is missing, unknown or of another shape, and
   * for more rows or tokens than the model was loaded for.
   */
  async _call(options: SequenceInputs): Promise<O> {
    const { inputs, labels } = this.info;
    const names = [...inputs, ...labels].map(({ name }) => name);
    checkOptions(
      'model()',
      options,
      [...new Set([...names, 'token_type_ids']), 'output_hidden_states'],
      unservedInputs,
    );
    const { output_hidden_states = false, ...known } = options;
    const columns = Object.fromEntries(
      Object.entries(known).filter(
        ([name]) => !Object.hasOwn(unservedInputs, name) || names.includes(name) || name === 'token_type_ids',
      ),
    );
    const given = this.columns(columns);
    const isEvaluated = labels.length > 0 && labels.every(({ name }) => Object.hasOwn(given, name));
    const entry = isEvaluated ? 'evaluate' : 'forward';
    const results = await this.executor.run(
      entry,
      completeInputs(isEvaluated ? [...inputs, ...labels] : inputs, given),
    );
    const hidden: Record<string, Tensor<'float32'>[]> = {};
    const output: Record<string, Tensor<'float32'>> = {};
    for (const [name, { shape, data }] of Object.entries(results)) {
      const { states, index } = /^(?<states>\w*hidden_states)\.(?<index>\d+)$/.exec(name)?.groups ?? {};
      if (!(data instanceof Float32Array) || (states && !output_hidden_states)) continue;
      const tensor = new Tensor('float32', data.slice(), shape);
      if (states) (hidden[states] ??= [])[Number(index)] = tensor;
      else output[name] = tensor;
    }
    return { ...output, ...hidden } as O;
  }

  /** Runs the model on a batch, as calling it does. */
  forward(inputs: SequenceInputs): Promise<O> {
    return this._call(inputs);
  }

  /** Bytes of weights and intermediate values; undefined on the interpreter. */
  planned_bytes(): number | undefined {
    return this.executor.plannedBytes?.({});
  }

  private checkIds(name: string, { data }: HostTensor): void {
    const { vocabSize } = this.info;
    const wrong = Array.from(data as ArrayLike<number | bigint>, Number).find((id) => !(id >= 0 && id < vocabSize));
    if (wrong === undefined) return;
    throw new ModelcError('input', `${name} holds the token id ${wrong}, but the vocabulary has ${vocabSize} tokens`);
  }

  /** The columns that were given, as host tensors. */
  private columns(columns: Readonly<Record<string, Column | null | undefined>>): Record<string, HostTensor> {
    const { inputs, labels } = this.info;
    const known = [...inputs, ...labels];
    const given: Record<string, HostTensor> = {};
    for (const [name, value] of Object.entries(columns)) {
      if (value === null || value === undefined) continue;
      const column = known.find((input) => input.name === name);
      // Tokenizers give token types to models that have none, too; that all are of the first type says nothing.
      if (!column && name === 'token_type_ids' && isZero(hostTensor(name, value, 2))) continue;
      if (!column) {
        throw new ModelcError(
          'input',
          `this model does not take ${name}; it takes ${known.map((input) => input.name).join(', ')}`,
        );
      }
      given[name] = hostTensor(name, value, column.axes.length);
      if (name.endsWith('input_ids')) this.checkIds(name, given[name]);
    }
    return given;
  }
}

const dtypes: Readonly<Record<TensorTypeName, HostTensor['dtype']>> = {
  float32: 'f32',
  float64: 'f32',
  float16: 'f16',
  int64: 'i64',
  int32: 'i32',
  uint32: 'u32',
  int8: 'i8',
  uint8: 'u8',
  bool: 'bool',
};

/** A column as a tensor of `rank` axes, with a leading one where it is one row of such a column. */
function hostTensor(name: string, value: Column, rank: number): HostTensor {
  if (value instanceof Tensor) {
    const data = value.data instanceof Float64Array ? Float32Array.from(value.data) : value.data;
    return { dtype: dtypes[value.type], shape: withRank(value.dims, rank), data };
  }
  const shape: number[] = [];
  const flat: number[] = [];
  const visit = (list: NestedList | readonly unknown[], axis: number): void => {
    if (!Array.isArray(list)) {
      if (axis !== shape.length || (typeof list !== 'number' && typeof list !== 'bigint')) {
        throw new ModelcError('input', `${name} must be a Tensor or lists of numbers that all have one length`);
      }
      flat.push(Number(list));
      return;
    }
    shape[axis] ??= list.length;
    if (shape[axis] !== list.length) {
      throw new ModelcError(
        'input',
        `${name} has rows of ${shape[axis]} and ${list.length} numbers; pad them to one length`,
      );
    }
    for (const item of list) visit(item, axis + 1);
  };
  visit(value, 0);
  if (flat.length === 0) throw new ModelcError('input', `${name} is empty; give at least one row of one token`);
  return flat.every(Number.isSafeInteger)
    ? { dtype: 'i64', shape: withRank(shape, rank), data: BigInt64Array.from(flat, BigInt) }
    : { dtype: 'f32', shape: withRank(shape, rank), data: Float32Array.from(flat) };
}

const isZero = ({ data }: HostTensor): boolean =>
  Array.from(data as ArrayLike<number | bigint>, Number).every((v) => v === 0);

const withRank = (shape: readonly number[], rank: number): readonly number[] =>
  shape.length === rank - 1 ? [1, ...shape] : shape;

/** A model is called like a function: `await model({ input_ids })` is `model.forward`. */
export type SequenceModel<O> = SequenceToTensors<O> & ((inputs: SequenceInputs) => Promise<O>);

export function createSequenceModel<O>(...args: ConstructorParameters<typeof SequenceToTensors<O>>): SequenceModel<O> {
  return callable<[SequenceInputs], Promise<O>, SequenceToTensors<O>>(new SequenceToTensors<O>(...args));
}
