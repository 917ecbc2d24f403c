// What apps call on models that read whole inputs at once: texts or columns to tensors, and to scores of classes.
import { isObject } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import type { SequenceInputs } from '../models/sequence-model.ts';
import { Tensor } from '../tensors/tensor.ts';
import type * as api from './api.ts';
import { type LoadedModel, needed } from './loaded-model.ts';

type Inputs = string | readonly string[] | api.ModelInputs;

/** Runs a model on texts or columns. Throws ModelcError 'unsupported' for a model that generates. */
export async function forward(loaded: LoadedModel, inputs: Inputs, text_pair?: string): Promise<Map<string, Tensor>> {
  if (loaded.kind !== 'encoder') {
    throw new ModelcError('unsupported', 'this model was compiled to generate; call generate(), not forward()');
  }
  const output = await loaded.model.forward(columnsOf(loaded, inputs, text_pair));
  const tensors = Object.entries(output as object).filter(
    (entry): entry is [string, Tensor] => entry[1] instanceof Tensor,
  );
  return new Map(tensors);
}

function columnsOf({ tokenizer }: LoadedModel, inputs: Inputs, text_pair: string | undefined): SequenceInputs {
  const isText =
    typeof inputs === 'string' || (Array.isArray(inputs) && inputs.every((text) => typeof text === 'string'));
  if (isText) {
    const texts = inputs as string | string[];
    return { ...needed(tokenizer)(texts, { padding: true, truncation: true, text_pair: text_pair ?? null }) };
  }
  if (!isObject(inputs)) {
    throw new ModelcError(
      'input',
      'forward() takes a text, a list of texts, or columns such as { input_ids: [[1, 2]] }',
    );
  }
  const columns = Object.entries(inputs).map(([name, value]) => [
    name,
    isObject(value) ? tensorOf(name, value) : value,
  ]);
  return Object.fromEntries(columns) as SequenceInputs;
}

/** A tensor of an app, whatever class it has. */
function tensorOf(name: string, { data, dims }: Readonly<Record<string, unknown>>): Tensor {
  const isShape = Array.isArray(dims) && dims.every((d) => Number.isSafeInteger(d) && d > 0);
  if (isShape && data instanceof Float32Array) return new Tensor('float32', data, dims);
  if (isShape && data instanceof BigInt64Array) return new Tensor('int64', data, dims);
  throw new ModelcError(
    'input',
    `${name} must be rows of numbers, or have data (Float32Array or BigInt64Array) and dims`,
  );
}

/** The scores of all classes, best first. Throws ModelcError 'unsupported' for a model that classifies no sequences. */
export async function classify(
  loaded: LoadedModel,
  input: string | api.ModelInputs,
  text_pair?: string,
): Promise<api.ClassScore[]> {
  if (loaded.task !== 'sequence-classification') {
    throw new ModelcError('unsupported', `this model was compiled for ${loaded.task}, which gives no classes`);
  }
  const logits = (await forward(loaded, input, text_pair)).get('logits')!;
  if (logits.dims[0] !== 1) throw new ModelcError('input', `classify() takes one row, but was given ${logits.dims[0]}`);
  const { id2label, problem_type } = loaded.model.config;
  const scores = scoresOf(Array.from(logits.data, Number), problem_type);
  const name = (i: number): string => {
    const label: unknown = isObject(id2label) ? id2label[i] : undefined;
    return typeof label === 'string' ? label : `LABEL_${i}`;
  };
  return scores.map((score, i) => ({ label: name(i), score })).sort((a, b) => b.score - a.score);
}

/** What transformers' text-classification pipeline makes of logits. */
function scoresOf(logits: readonly number[], problemType: unknown): number[] {
  if (problemType === 'regression') return [...logits];
  if (problemType === 'multi_label_classification' || logits.length === 1)
    return logits.map((x) => 1 / (1 + Math.exp(-x)));
  const top = Math.max(...logits);
  const exps = logits.map((x) => Math.exp(x - top));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((x) => x / sum);
}
