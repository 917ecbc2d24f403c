// The checks of a case whose model has an encoder and a decoder: outputs and hidden states of its golden pairs, what is
// generated beside the sources, and training on those pairs.
import { openCheckpoint, seq2seqLM, supportedSeq2Seq } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { AutoModelForSeq2SeqLM } from '../index.ts';
import { type GoldenTensor, type GoldenTensors, rowsOf, tolerance } from './checks.ts';
import { type CaseReport, relativeError } from './compare.ts';
import { idsOf, type SubjectOptions } from './subject.ts';
import { checkTraining, type TrainedTask, type TrainGolden } from './train.ts';

export const seq2seqKind = 'seq2seq';

export const supportsSeq2Seq = (modelType: string | undefined): boolean =>
  modelType !== undefined && supportedSeq2Seq.includes(modelType);

export interface Seq2SeqGolden {
  readonly kind: typeof seq2seqKind;
  readonly greedy: readonly (readonly number[])[];
  readonly beam3: readonly (readonly number[])[];
  readonly beam3_scores: readonly number[];
  readonly train?: TrainGolden;
}

function required(tensors: GoldenTensors, name: string): GoldenTensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new ModelcError('parse', `the case has no tensor ${name}: is it complete?`);
  return tensor;
}

export async function checkSeq2Seq(
  report: CaseReport,
  folder: string,
  golden: Seq2SeqGolden,
  tensors: GoldenTensors,
  { target, cache }: SubjectOptions,
): Promise<void> {
  const model = await AutoModelForSeq2SeqLM.from_pretrained(folder, { target, cache_implementation: cache });
  try {
    const source = {
      input_ids: rowsOf(required(tensors, 'input_ids')),
      attention_mask: rowsOf(required(tensors, 'attention_mask')),
    };
    const decoder_input_ids = rowsOf(required(tensors, 'decoder_input_ids'));
    const output = await model({ ...source, decoder_input_ids, output_hidden_states: true });
    for (const name of ['logits', 'encoder_last_hidden_state'] as const) {
      report.error(name, relativeError(output[name].data, required(tensors, name).data), tolerance);
    }
    for (const [name, want] of tensors) {
      const index = /^decoder_hidden_(\d+)$/.exec(name)?.[1];
      if (index === undefined) continue;
      const got = output.decoder_hidden_states?.[Number(index)]?.data ?? new Float32Array(0);
      report.error(name, relativeError(got, want.data), tolerance);
    }
    const settings = { ...source, do_sample: false, eos_token_id: null, pad_token_id: 0, max_new_tokens: 10 } as const;
    const greedy = idsOf(await model.generate(settings));
    for (const [i, want] of golden.greedy.entries()) report.same(`greedy[${i}]`, greedy[i], want);
    const beams = await model.generate({ ...settings, num_beams: 3, return_dict_in_generate: true });
    const found = idsOf(beams.sequences);
    for (const [i, want] of golden.beam3.entries()) report.same(`beam3[${i}]`, found[i], want);
    const scores = beams.sequences_scores?.data ?? new Float32Array(0);
    report.error('beam3 scores', relativeError(scores, Float32Array.from(golden.beam3_scores)), tolerance);
    beams.past_key_values?.dispose();
  } finally {
    model.dispose();
  }
  if (golden.train) await checkTraining(report, await pairs(folder, tensors), golden.train, target);
}

/** The golden pairs: what the decoder reads is what it is to say, too, moved by one place. */
async function pairs(folder: string, tensors: GoldenTensors): Promise<TrainedTask> {
  const { task, checkpoint } = seq2seqLM(await openCheckpoint(folder));
  const column = (name: string) => {
    const { shape, data } = required(tensors, name);
    return { dtype: 'i64', shape, data } as const;
  };
  return {
    task,
    checkpoint,
    columns: {
      input_ids: column('input_ids'),
      attention_mask: column('attention_mask'),
      labels: column('decoder_input_ids'),
    },
  };
}
