// An evaluation: the forward pass over a dataset, the mean loss, and what metrics are computed from.
import type { Batch } from '../data/index.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import type { Tensor } from '../tensors/tensor.ts';
import { concatRows, userTensor } from './collect.ts';
import { type Metrics, prefixed } from './metrics.ts';

export type { Metrics };

/** Several tensors where a model has several outputs or columns of labels. */
export type Predictions = Tensor | Tensor[];

/** What compute_metrics gets. Rows are examples; what rows lack in length is -100. */
export interface EvalPrediction {
  /** What the model gave: logits, or generated ids with predict_with_generate. */
  readonly predictions: Predictions;
  /** The labels; undefined where the dataset has none. */
  readonly label_ids: Predictions | undefined;
  /** With 'inputs' in include_for_metrics: the token ids that the model read. */
  readonly inputs?: Tensor;
  /** With 'loss' in include_for_metrics: the loss of the batch of each example. */
  readonly losses?: Tensor;
}

/** With batch_eval_metrics it is called for every batch, and `compute_result` is true for the last one. */
export type ComputeMetrics = (
  prediction: EvalPrediction,
  compute_result?: boolean,
) => Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>;

/** What one batch gives. */
export interface BatchOutput {
  readonly loss: number | undefined;
  /** Undefined where only the loss is wanted. */
  readonly predictions: readonly Tensor[] | undefined;
  readonly labels: readonly Tensor[];
}

export interface EvaluationOptions {
  readonly prefix: string;
  readonly run: (batch: Batch) => Promise<BatchOutput>;
  readonly compute_metrics: ComputeMetrics | undefined;
  readonly batch_eval_metrics: boolean;
  readonly include: readonly string[];
  /** Whether the loss of a batch counts for every batch the same, not for each of its rows. */
  readonly equalBatches: boolean;
  readonly onBatch: () => Promise<void>;
}

export interface EvaluationOutput {
  readonly predictions: Predictions | undefined;
  readonly label_ids: Predictions | undefined;
  readonly metrics: Metrics;
  readonly num_samples: number;
  readonly num_batches: number;
}

const single = (tensors: readonly Tensor[]): Predictions => (tensors.length === 1 ? tensors[0] : [...tensors]);

/** The tensors of all batches; undefined where there are none. */
function gathered(batches: readonly (readonly Tensor[])[]): Predictions | undefined {
  const [first] = batches;
  if (!first || first.length === 0) return undefined;
  return single(first.map((_, i) => concatRows(batches.map((tensors) => tensors[i]))));
}

export async function evaluationLoop(
  batches: AsyncIterable<Batch>,
  options: EvaluationOptions,
): Promise<EvaluationOutput> {
  const { prefix, run, compute_metrics, batch_eval_metrics, include, onBatch } = options;
  const outputs: BatchOutput[] = [];
  const inputs: Tensor[] = [];
  const rows: number[] = [];
  let metrics: Readonly<Record<string, number>> = {};
  const predictionOf = (output: BatchOutput, batch: Batch): EvalPrediction => ({
    predictions: single(output.predictions ?? []),
    label_ids: output.labels.length > 0 ? single(output.labels) : undefined,
    ...(include.includes('inputs') ? { inputs: userTensor(batch.input_ids) } : {}),
    ...(include.includes('loss') ? { losses: concatRows([lossRows(output, rowsOf(batch))]) } : {}),
  });
  let last: EvalPrediction | undefined;
  for await (const batch of batches) {
    const output = await run(batch);
    rows.push(rowsOf(batch));
    if (batch_eval_metrics && compute_metrics) {
      if (last) await compute_metrics(last, false);
      last = predictionOf(output, batch);
      outputs.push({ ...output, predictions: undefined, labels: [] });
    } else {
      outputs.push(output);
      if (include.includes('inputs')) inputs.push(userTensor(batch.input_ids));
    }
    await onBatch();
  }
  const label_ids = gathered(outputs.map((o) => o.labels));
  const predictions = gathered(outputs.flatMap((o) => (o.predictions ? [o.predictions] : [])));
  if (compute_metrics && last) metrics = await compute_metrics(last, true);
  else if (compute_metrics && predictions && label_ids) {
    const losses = include.includes('loss') ? outputs.map((o, i) => lossRows(o, rows[i])) : [];
    metrics = await compute_metrics({
      predictions,
      label_ids,
      ...(inputs.length > 0 ? { inputs: concatRows(inputs) } : {}),
      ...(losses.length > 0 ? { losses: concatRows(losses) } : {}),
    });
  }
  const loss = meanLoss(outputs, options.equalBatches ? rows.map(() => 1) : rows);
  const own = { ...(loss === undefined ? {} : { [`${prefix}_loss`]: loss }), ...metrics };
  const num_samples = rows.reduce((n, r) => n + r, 0);
  return { predictions, label_ids, metrics: prefixed(prefix, own), num_samples, num_batches: rows.length };
}

/** The number of rows of a batch. */
export const rowsOf = (batch: Batch): number => Object.values(batch)[0]?.shape[0] ?? 0;

const lossRows = ({ loss = Number.NaN }: BatchOutput, rows: number): Tensor =>
  userTensor({ dtype: 'f32', shape: [rows], data: new Float32Array(rows).fill(loss) });

/** The mean over batches, each of which has a weight. */
function meanLoss(outputs: readonly BatchOutput[], weights: readonly number[]): number | undefined {
  let [sum, count] = [0, 0];
  for (const [i, { loss }] of outputs.entries()) {
    if (loss === undefined) continue;
    sum += loss * weights[i];
    count += weights[i];
  }
  return count === 0 ? undefined : sum / count;
}

/** The columns of labels of a batch, as users hold them. */
export const labelsOf = (batch: Batch, names: readonly string[]): Tensor[] =>
  names.flatMap((name) => (Object.hasOwn(batch, name) ? [userTensor(batch[name])] : []));

export const numberOf = (tensor: HostTensor | undefined): number | undefined =>
  tensor === undefined ? undefined : Number(tensor.data[0]);
