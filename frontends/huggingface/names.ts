// The names of tensors in checkpoints: those that wrappers of PyTorch have put something before, those that nobody reads
// for a reason that is known, and long lists of them in messages.
import { quote } from './json.ts';
import type { StoredTensor } from './safetensors.ts';

type Tensors = ReadonlyMap<string, StoredTensor>;

/** What wrappers put into names: torch.compile, FSDP and activation checkpointing anywhere, DataParallel at the start. */
const inner = /(^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.(?=.)/g;
const outer = /^module\.(?=.)/;

/** Tensors under the names that they have without the wrappers that a model was saved in. */
export function unwrapped(tensors: Tensors): Tensors {
  const plain = new Map([...tensors].map(([name, tensor]) => [name.replace(inner, '$1'), tensor]));
  if (plain.size !== tensors.size) return tensors; // two would have one name
  const isParallel = plain.size > 0 && [...plain.keys()].every((name) => outer.test(name));
  return isParallel ? unwrapped(new Map([...plain].map(([name, tensor]) => [name.replace(outer, ''), tensor]))) : plain;
}

/** What all names begin with, up to a dot; '' if they have nothing in common. */
export function commonPrefix(names: readonly string[]): string {
  const prefix = (names[0] ?? '').split('.').slice(0, -1);
  for (const name of names) {
    const parts = name.split('.');
    const length = prefix.findIndex((part, i) => parts[i] !== part);
    if (length >= 0) prefix.length = length;
  }
  return prefix.length === 0 ? '' : `${prefix.join('.')}.`;
}

interface Known {
  readonly name: RegExp;
  /** How many axes it has, where a weight may have the same name. */
  readonly rank?: number;
}

/** Tensors that say nothing which a model does not know itself: transformers passes over them without a word, too. */
const buffers: readonly Known[] = [
  { name: /(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$/ }, // computed from rope_theta
  { name: /(^|\.)rope\.freqs$/ }, // the same, in Meta's own files
  { name: /(^|\.)(position_ids|token_type_ids)$/ }, // 0, 1, 2, …; zeros
  { name: /\.(attn|attention|crossattention)\.masked_bias$/ }, // -1e4 or -1e9, what masked scores become
  { name: /\.(attn|attention|crossattention)\.bias$/, rank: 4 }, // the causal mask of GPT-2 and its kin
  { name: /\.attn\.causal_mask$/ }, // CodeGen's
  { name: /(^|\.)num_batches_tracked$/ }, // of batch norms, for training
  { name: /(^|\.)embed_positions\.(weights|_float_tensor)$/ }, // sines, which are computed; a device marker
  { name: /(^|\.)(encoder|decoder)\.version$/ }, // of fairseq's code
  { name: /\.EncDecAttention\.relative_attention_bias\.weight$/ }, // the first T5s had one that nothing reads
  { name: /^mtp\./ }, // layers that predict further tokens: for speed alone
];

/** A layer behind the last one that predicts further tokens, as DeepSeek V3 has: all of it is known by this projection. */
const furtherTokens = /^(.*\.layers\.\d+\.)eh_proj\.weight$/;

/** Heads of other tasks, by the names that transformers gives them: 'cls.predictions' and the like count by two parts. */
const heads =
  /^(?:\w+\.)?(pooler)\.|^(cls\.\w+|classifier|classification_head|qa_outputs|score|lm_head|embed_out|pre_classifier|vocab_(?:transform|layer_norm|projector)|predictions|sop_classifier|generator_(?:predictions|lm_head)|discriminator_predictions|sequence_summary|multiple_choice_head|v_head|summary)(?:\.|$)/;

/** What is left of a checkpoint when a model has taken its weights. */
export interface Unread {
  /** Tensors of heads that the model does not have. */
  readonly heads: readonly string[];
  /** Tensors without which results are not those of the model that was saved. */
  readonly others: readonly string[];
}

/** `paths`: the names of the model's parameters. */
export function sortUnread(unread: ReadonlyMap<string, StoredTensor>, paths: Iterable<string>): Unread {
  const further = [...unread.keys()].flatMap((name) => furtherTokens.exec(name)?.[1] ?? []);
  const left = [...unread].filter(
    ([name, { shape }]) =>
      !buffers.some((known) => known.name.test(name) && (known.rank ?? shape.length) === shape.length) &&
      !further.some((layer) => name.startsWith(layer)),
  );
  const own = new Set([...paths].map(headOf));
  const [others, other]: string[][] = [[], []];
  for (const [name] of left) {
    const head = headOf(name);
    (head !== undefined && !own.has(head) ? other : others).push(name);
  }
  return { heads: other, others };
}

function headOf(name: string): string | undefined {
  const found = heads.exec(name);
  return found ? (found[1] ?? found[2]) : undefined;
}

/** Endings of the tensors of packed weights. */
export const packed =
  /\.(qweight|qzeros|g_idx|scales|weight_scale(_inv|_2)?|weight_packed|absmax|quant_map|SCB|\w+_blocks|\w+_scales)$/;

/** Runs of numbers: 0-3, 7. */
function ranges(numbers: ReadonlySet<number>): string {
  const sorted = [...numbers].sort((a, b) => a - b);
  const runs: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let end = i;
    while (sorted[end + 1] === sorted[end] + 1) end++;
    runs.push(end === i ? `${sorted[i]}` : `${sorted[i]}-${sorted[end]}`);
    i = end + 1;
  }
  return runs.length === 1 && sorted.length === 1
    ? runs[0]
    : `[${runs.slice(0, 4).join(',')}${runs.length > 4 ? ',…' : ''}]`;
}

const groupsShown = 6;

/** Weights as a message may name them, those of layers together: '12 weights (model.layers.[0-11].mlp.up_proj.weight)'. */
export function weightNames(names: readonly string[]): string {
  if (names.length === 1) return `the weight ${quote(names[0]).slice(1, -1)}`;
  const groups = new Map<string, Set<number>[]>();
  for (const name of names) {
    const numbers: number[] = [];
    const pattern = name.replace(/(?<=^|\.)\d{1,9}(?=\.|$)/g, (number) => {
      numbers.push(Number(number));
      return '\0';
    });
    const slots = groups.get(pattern) ?? numbers.map(() => new Set<number>());
    for (const [i, number] of numbers.entries()) slots[i].add(number);
    groups.set(pattern, slots);
  }
  const shown = [...groups].slice(0, groupsShown).map(([pattern, slots]) => {
    const plain = pattern.length > 100 ? quote(pattern) : quote(pattern.replaceAll('\0', '#')).slice(1, -1);
    let slot = 0;
    return plain.replaceAll('#', () => (slots[slot] ? ranges(slots[slot++]) : '#'));
  });
  const more = groups.size > groupsShown ? `, and ${groups.size - groupsShown} more` : '';
  return `${names.length} weights (${shown.join(', ')}${more})`;
}
