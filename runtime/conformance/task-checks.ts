// The checks of a case whose model reads whole sequences: outputs, hidden states and the loss of its golden batch.
import { openCheckpoint, supportedEncoders, type TaskName, taskModel } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import {
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  type LogitsOutput,
  type SequenceInputs,
  type SpanOutput,
  type TaskLoadOptions,
} from '../index.ts';
import type { SequenceModel } from '../models/sequence-model.ts';
import { type GoldenTensor, type GoldenTensors, tolerance } from './checks.ts';
import { type CaseReport, relativeError } from './compare.ts';
import type { SubjectOptions } from './subject.ts';
import { checkTraining, type TrainedTask, type TrainGolden } from './train.ts';

type Load = (folder: string, options: TaskLoadOptions) => Promise<SequenceModel<LogitsOutput | SpanOutput>>;

/** Kinds of hf-golden, and how the names of their classes end. */
export const taskLoaders = {
  mlm: {
    ending: 'ForMaskedLM',
    task: 'masked-lm',
    load: (...args) => AutoModelForMaskedLM.from_pretrained(...args),
  },
  seqcls: {
    ending: 'ForSequenceClassification',
    task: 'sequence-classification',
    load: (...args) => AutoModelForSequenceClassification.from_pretrained(...args),
  },
  tokcls: {
    ending: 'ForTokenClassification',
    task: 'token-classification',
    load: (...args) => AutoModelForTokenClassification.from_pretrained(...args),
  },
  qa: {
    ending: 'ForQuestionAnswering',
    task: 'question-answering',
    load: (...args) => AutoModelForQuestionAnswering.from_pretrained(...args),
  },
} satisfies Record<string, { ending: string; task: TaskName; load: Load }>;

export type TaskKind = keyof typeof taskLoaders;
export const isTaskKind = (kind: string | undefined): kind is TaskKind =>
  kind !== undefined && Object.hasOwn(taskLoaders, kind);

export const supportsTask = (modelType: string | undefined): boolean =>
  modelType !== undefined && supportedEncoders.includes(modelType);

export interface TaskGolden {
  readonly kind: TaskKind;
  readonly train?: TrainGolden;
}

/** A golden tensor as nested lists. */
function listOf({ shape, data }: GoldenTensor): number[] | number[][] {
  const numbers = Array.from(data as ArrayLike<number | bigint>, Number);
  if (shape.length === 1) return numbers;
  const [rows, columns] = shape;
  return Array.from({ length: rows }, (_, r) => numbers.slice(r * columns, (r + 1) * columns));
}

export async function checkTask(
  report: CaseReport,
  folder: string,
  golden: TaskGolden,
  tensors: GoldenTensors,
  { target }: SubjectOptions,
): Promise<void> {
  const { task, load }: { task: TaskName; load: Load } = taskLoaders[golden.kind];
  const model = await load(folder, { target });
  try {
    const columns = [...tensors].flatMap(([name, tensor]) => {
      const isInput = ['input_ids', 'attention_mask', 'token_type_ids'].includes(name);
      return isInput || name.startsWith('label_') ? [[name.replace(/^label_/, ''), listOf(tensor)] as const] : [];
    });
    const inputs = Object.fromEntries(columns) as Omit<SequenceInputs, 'input_ids'>;
    const ids = tensors.get('input_ids');
    if (!ids) throw new ModelcError('parse', 'the case has no tensor input_ids: is it complete?');
    const output = await model({ ...inputs, input_ids: listOf(ids), output_hidden_states: true });
    for (const [name, want] of tensors) {
      const hidden = /^hidden_(\d+)$/.exec(name)?.[1];
      if (hidden !== undefined) {
        report.error(
          name,
          relativeError(output.hidden_states?.[Number(hidden)]?.data ?? new Float32Array(0), want.data),
          tolerance,
        );
      } else if (name.endsWith('logits')) {
        const got = Object.entries(output).find(([key]) => key === name)?.[1];
        report.error(name, relativeError(got?.data ?? new Float32Array(0), want.data), tolerance);
      }
    }
    const loss = golden.train?.losses[0];
    if (loss !== undefined) {
      report.error('loss', relativeError(output.loss?.data ?? new Float32Array(0), Float32Array.of(loss)), tolerance);
    }
  } finally {
    model.dispose();
  }
  if (golden.train) await checkTraining(report, await taskTraining(folder, task, tensors), golden.train, target);
}

/** The golden batch of a task. */
async function taskTraining(folder: string, name: TaskName, tensors: GoldenTensors): Promise<TrainedTask> {
  const { task, checkpoint } = taskModel(await openCheckpoint(folder), name);
  const columns = [...task.inputs, ...task.labels].flatMap((column) => {
    const tensor = tensors.get(column.name) ?? tensors.get(`label_${column.name}`);
    const dtype = tensor?.data instanceof BigInt64Array ? 'i64' : 'f32';
    return tensor ? [[column.name, { dtype, shape: tensor.shape, data: tensor.data }] as const] : [];
  });
  return { task, checkpoint, columns: Object.fromEntries(columns) };
}
