// Cases of options: calls as text, each with the right outcome in words. An option is served as the words say, or refused
// with a typed error; it is never passed over.
import { join } from 'node:path';
import { ModelcError } from '../../../ir/error.ts';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  GenerationConfig,
  LoraConfig,
  load_dataset,
  type PreTrainedTokenizer,
  pipeline,
  Tensor,
  TrainingArguments,
} from '../../index.ts';
import type { CaseReport } from '../compare.ts';
import { type Call, optionNames, readCall, type Scope } from './call.ts';

export interface OptionCase {
  readonly call: string;
  readonly right: string;
}

type AnyFunction = (...args: unknown[]) => unknown;

/** What calls of a case name; files are those of its folder. */
export function scopeOf(
  folder: string,
  tokenizer: PreTrainedTokenizer | undefined,
  values: Readonly<Record<string, unknown>>,
): Scope {
  const within = (name: unknown): unknown =>
    typeof name === 'string' ? join(folder, name) : Array.isArray(name) ? name.map(within) : name;
  const anything = <T>(value: T): AnyFunction => value as AnyFunction;
  const methods = ['encode', 'decode', 'batch_decode', 'tokenize', 'apply_chat_template'] as const;
  const ofTokenizer = tokenizer
    ? Object.fromEntries([
        ['tokenizer', anything(tokenizer)],
        ...methods.map((name) => [`tokenizer.${name}`, anything(tokenizer[name]).bind(tokenizer)] as const),
      ])
    : {};
  const functions = {
    ...ofTokenizer,
    load_dataset: (format: unknown, options: unknown) => {
      const given = typeof options === 'object' && options !== null ? options : {};
      const files = 'data_files' in given ? { data_files: within(given.data_files) } : {};
      return anything(load_dataset)(format, { ...given, ...files });
    },
    'AutoTokenizer.from_pretrained': (name: unknown, ...rest: unknown[]) =>
      anything(AutoTokenizer.from_pretrained)(within(name), ...rest),
    'AutoModelForCausalLM.from_pretrained': (name: unknown, ...rest: unknown[]) =>
      anything(AutoModelForCausalLM.from_pretrained).call(AutoModelForCausalLM, within(name), ...rest),
    pipeline: (task: unknown, model: unknown, ...rest: unknown[]) => anything(pipeline)(task, within(model), ...rest),
    'new GenerationConfig': (fields: unknown) => new GenerationConfig(fields as Record<string, unknown>),
    'new LoraConfig': (fields: unknown) => new LoraConfig(fields as object),
    'new TrainingArguments': (fields: unknown) => new TrainingArguments(fields as { output_dir: string }),
  };
  return { functions: functions as Scope['functions'], values };
}

/** Rows of ids of what a tokenizer gave. */
function rowsOf(value: unknown): number[][] {
  const ids = typeof value === 'object' && value !== null && 'input_ids' in value ? value.input_ids : value;
  if (ids instanceof Tensor) {
    const [rows, length] = ids.dims;
    const all = Array.from(ids.data as ArrayLike<number | bigint>, Number);
    return Array.from({ length: rows }, (_, r) => all.slice(r * length, (r + 1) * length));
  }
  const list = Array.isArray(ids) ? ids : [];
  return (Array.isArray(list[0]) ? list : [list]) as number[][];
}

interface Returned {
  readonly value: unknown;
  readonly call: Call;
  readonly tokenizer: PreTrainedTokenizer | undefined;
}

/** The rows are what the texts have alone: nothing was added or cut. */
const isWhole = ({ value, call, tokenizer }: Returned): boolean => {
  const texts = [call.args[0]].flat() as string[];
  const rows = rowsOf(value);
  return rows.length === texts.length && texts.every((text, i) => rows[i].join() === tokenizer?.encode(text).join());
};
const numerals = ['no', 'one', 'two', 'three', 'four', 'five', 'six'];
const numberOf = (text: string): number => (/\d/.test(text) ? Number(text) : numerals.indexOf(text));

/** What words about a result ask of it; the first row that fits counts. */
const rules: readonly { words: RegExp; holds(got: Returned, match: RegExpExecArray): boolean }[] = [
  { words: /^not (padded|truncated)/, holds: isWhole },
  {
    words: /multiple of (\d+)/,
    holds: ({ value }, [, n]) => rowsOf(value).every((row) => row.length > 0 && row.length % Number(n) === 0),
  },
  {
    words: /overflowing windows/,
    holds: ({ value }) => rowsOf(value).length > 1 || Object.hasOwn(Object(value), 'overflowing_tokens'),
  },
  {
    words: /^(\w+) rows? with the columns ([\w ,]+?)(?:, or|$)/,
    holds({ value }, [, count, columns]) {
      const { length, column_names } = Object(value) as { length?: number; column_names?: readonly string[] };
      return length === numberOf(count) && column_names?.join() === columns.split(/, | and /).join();
    },
  },
  { words: /^(\w+) rows?\b/, holds: ({ value }, [, count]) => rowsOf(value).length === numberOf(count) },
  { words: /^(\w+_\w+)\b/, holds: ({ value }, [, key]) => Object.hasOwn(Object(value), key) },
];

export async function checkOption(
  report: CaseReport,
  { call: text, right }: OptionCase,
  scope: Scope,
  tokenizer: PreTrainedTokenizer | undefined,
): Promise<void> {
  const call = readCall(text, scope);
  report.checks++;
  let value: unknown;
  try {
    value = await call.run();
  } catch (error) {
    if (!(error instanceof ModelcError)) {
      report.failures.push(`${text} throws ${String(error)}, not a ModelcError`);
    } else if (/unknown option|not served/.test(right) && !optionNames(call).some((name) => names(error, name))) {
      report.failures.push(`${text} is refused without the name of the option: ${error.message}`);
    }
    return;
  }
  const rule = rules.find(({ words }) => words.test(right));
  const match = rule?.words.exec(right);
  if (!rule || !match) report.failures.push(`${text} is served, but right is: ${right}`);
  else if (!rule.holds({ value, call, tokenizer }, match)) {
    report.failures.push(`${text} gives ${JSON.stringify(rowsOf(value)).slice(0, 80)}, but right is: ${right}`);
  }
}

const names = ({ message }: ModelcError, option: string): boolean => new RegExp(`['"\`]${option}\\b`).test(message);
