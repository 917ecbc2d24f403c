// Cases of tokenizers: ids and texts, stop strings over growing prefixes, and chat templates.
import { ModelcError } from '../../../ir/error.ts';
import { type Message, type PreTrainedTokenizer, StopStringCriteria } from '../../index.ts';
import type { CaseReport } from '../compare.ts';

/** An entry of `cases`; what it has is checked. */
export interface TextCase {
  readonly case?: string;
  readonly text?: string;
  readonly text_pair?: string;
  readonly ids?: readonly number[];
  readonly tokens?: readonly string[];
  readonly token_type_ids?: readonly number[];
  readonly attention_mask?: readonly number[];
  readonly decoded?: string;
  readonly decoded_skip_special?: string;
  readonly stop?: string | readonly string[];
  readonly stops_after_tokens?: number | null;
  readonly messages?: readonly Message[];
  readonly template?: string;
  readonly variables?: Readonly<Record<string, unknown>>;
  readonly rendered?: string | null;
}

export function checkText(
  report: CaseReport,
  name: string,
  tokenizer: PreTrainedTokenizer,
  c: TextCase,
  chat: readonly Message[] | undefined,
): void {
  if (c.text !== undefined) {
    const { text, text_pair = null, ids } = c;
    if (ids) report.same(`${name}: ids`, tokenizer.encode(text, { text_pair }), ids);
    if (c.tokens) report.sameText(`${name}: tokens`, tokenizer.tokenize(text).join('\n'), c.tokens.join('\n'));
    const encoded = tokenizer(text, { text_pair, return_tensor: false });
    for (const key of ['token_type_ids', 'attention_mask'] as const) {
      if (c[key]) report.same(`${name}: ${key}`, (encoded[key] ?? []) as number[], c[key]);
    }
  }
  const { ids = [] } = c;
  if (c.decoded !== undefined) report.sameText(`${name}: decoded`, tokenizer.decode(ids), c.decoded);
  if (c.decoded_skip_special !== undefined) {
    const decoded = tokenizer.decode(ids, { skip_special_tokens: true });
    report.sameText(`${name}: decoded without special tokens`, decoded, c.decoded_skip_special);
  }
  if (c.stop !== undefined && c.stops_after_tokens !== undefined) {
    report.sameText(`${name}: stops after`, String(stopsAfter(tokenizer, ids, c.stop)), String(c.stops_after_tokens));
  }
  if (c.rendered !== undefined) checkTemplate(report, name, tokenizer, c, c.messages ?? chat ?? []);
}

/** The length of the shortest prefix that a stop string ends. */
function stopsAfter(
  tokenizer: PreTrainedTokenizer,
  ids: readonly number[],
  stop: string | readonly string[],
): number | null {
  const criterion = new StopStringCriteria(tokenizer, stop);
  const at = ids.findIndex((_, i) => criterion._call([ids.slice(0, i + 1).map(BigInt)])[0]);
  return at < 0 ? null : at + 1;
}

/** `rendered` null: the template must be refused. */
function checkTemplate(
  report: CaseReport,
  name: string,
  tokenizer: PreTrainedTokenizer,
  { template, variables, rendered }: TextCase,
  messages: readonly Message[],
): void {
  let got: string;
  try {
    got = tokenizer.apply_chat_template(messages, { ...variables, chat_template: template ?? null, tokenize: false });
  } catch (error) {
    if (!(error instanceof ModelcError)) throw error;
    report.checks++;
    if (rendered !== null) report.failures.push(`${name}: ${error.message}`);
    return;
  }
  report.sameText(`${name}: rendered`, got, String(rendered));
}
