// Classes of a model's head: what options say of them is written into its config, as transformers writes it.
import { isObject } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import type { LabelOptions } from './load-options.ts';

type ModelConfig = Readonly<Record<string, unknown>>;

const labelFields = ['num_labels', 'id2label', 'label2id', 'problem_type'] as const;

/** A config with what the options say of classes: names by number and numbers by name. */
export function withLabels(config: ModelConfig, options: LabelOptions): ModelConfig {
  const given = Object.fromEntries(
    labelFields.flatMap((name) => (options[name] == null ? [] : [[name, options[name]]])),
  );
  const { num_labels: labels, id2label: names, ...others } = given as LabelOptions;
  if (Object.keys(given).length === 0) return config; // which tells floats from whole numbers, as it was written
  if (labels == null && names == null) return { ...config, ...others };
  const isNumber = labels == null || (Number.isSafeInteger(labels) && labels > 0 && labels <= 2 ** 20);
  if (!isNumber) throw new ModelcError('input', `\`num_labels\` must be a positive integer, but is ${String(labels)}`);
  const isNamed = typeof names === 'object' && names !== null && !Array.isArray(names);
  if (names != null && !isNamed) throw new ModelcError('input', '`id2label` must be an object such as { 0: "no" }');
  if (isNamed && labels != null && Object.keys(names).length !== labels) {
    throw new ModelcError(
      'input',
      `\`num_labels\` is ${labels}, but \`id2label\` has ${Object.keys(names).length} names; leave one out`,
    );
  }
  const { num_labels, ...rest } = config;
  const known: unknown = rest.id2label;
  const keeps = !isNamed && isObject(known) && Object.keys(known).length === labels;
  if (keeps) return { ...rest, ...others };
  const id2label = isNamed
    ? names
    : Object.fromEntries(Array.from({ length: labels ?? 0 }, (_, i) => [i, `LABEL_${i}`]));
  const label2id =
    others.label2id ?? Object.fromEntries(Object.entries(id2label).map(([id, name]) => [name, Number(id)]));
  return { ...rest, ...others, id2label, label2id };
}
