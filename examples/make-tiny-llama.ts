// Makes the checkpoint in examples/tiny-llama: a Llama of two layers that knows one short story, by construction.
//   node scripts/run.mjs examples/make-tiny-llama.ts [FOLDER]
// Nothing is downloaded, and the same file comes out on every run. The tokenizer is a byte-level BPE learned from the
// story. In layer 0 each query attends, by rotary phase alone, to the position one back (heads 0 and 2) or two back
// (heads 1 and 3), so that the residual stream holds the codes of the last three tokens; the rest is small noise. The
// output head is then fitted to the model's own final hidden states by softmax regression on the story.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  fittedModel,
  openCheckpoint,
  readTensor,
  type TensorSource,
  weightResolver,
  writeSafetensors,
} from '../frontends/huggingface/index.ts';
import { bf16BitsToF32, f32ToBf16Bits } from '../ir/dtype.ts';
import { evaluate } from '../ir/eval.ts';
import { type NdArray, ndarray } from '../ir/ndarray.ts';
import { createTokenizer } from '../runtime/tokenization/tokenizer.ts';

const story = `Once upon a time, there was a little compiler named Modelc. It lived in a quiet folder at the edge of a big forest \
of files. Every morning it woke up, stretched its types, and read the news from the tensors.
One day a small model knocked on the door. "Please help me," said the model. "My weights are many, but I cannot speak. \
Nobody here understands my graph."
"Do not worry," said Modelc. "Show me your layers." The model opened its config and took out two layers, one after the \
other. Modelc looked at every node. It fused what belonged together, found room for each buffer, and printed clean code \
line by line.
"Now try," smiled Modelc. The model took a deep breath. First came one token, then another, and soon whole sentences were \
running through the forest. The birds stopped to listen. "I can speak!" cried the model, and it laughed so loudly that \
the caches filled with joy.
From that day on the two were best friends. They told stories every evening, fast and without a single mistake. And if \
you listen closely tonight, you may hear them still.
The end.`;

const config = {
  architectures: ['LlamaForCausalLM'],
  attention_bias: false,
  bos_token_id: 1,
  dtype: 'bfloat16',
  eos_token_id: 2,
  head_dim: 16,
  hidden_act: 'silu',
  hidden_size: 96,
  initializer_range: 0.02,
  intermediate_size: 128,
  max_position_embeddings: 1024,
  mlp_bias: false,
  model_type: 'llama',
  num_attention_heads: 4,
  num_hidden_layers: 2,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-5,
  rope_parameters: { rope_theta: 10, rope_type: 'default' },
  tie_word_embeddings: false,
  vocab_size: 512,
} as const;
const { hidden_size: hidden, head_dim: headDim, vocab_size: vocab, intermediate_size: intermediate } = config;

/** Mulberry32: uniform numbers in [0, 1) from a 32-bit state. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
const random = generator(2024);

// Tokenizer.

/** GPT-2's printable stand-in for every byte. */
function byteCharacters(): string[] {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
}

function makeTokenizer(): object {
  const characters = byteCharacters();
  const tokens = ['<unk>', '<s>', '</s>', ...characters];
  const pieces = story.match(/ ?[A-Za-z]+| ?[^\sA-Za-z]+|\s+(?!\S)|\s+/g) ?? [];
  const words = pieces.map((w) => [...new TextEncoder().encode(w)].map((b) => characters[b]));
  const merges: [string, string][] = [];
  while (tokens.length < vocab) {
    const counts = new Map<string, number>();
    for (const w of words)
      for (let i = 1; i < w.length; i++)
        counts.set(`${w[i - 1]} ${w[i]}`, (counts.get(`${w[i - 1]} ${w[i]}`) ?? 0) + 1);
    const [best] = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))[0];
    const [left, right] = best.split(' ');
    merges.push([left, right]);
    tokens.push(left + right);
    for (const w of words) {
      for (let i = 1; i < w.length; i++) if (w[i - 1] === left && w[i] === right) w.splice(i - 1, 2, left + right);
    }
  }
  const special = (id: number): object => ({
    id,
    content: tokens[id],
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  const bos = { SpecialToken: { id: '<s>', type_id: 0 } };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(0), special(1), special(2)],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: {
      type: 'TemplateProcessing',
      single: [bos, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [bos, { Sequence: { id: 'A', type_id: 0 } }, bos, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((t, i) => [t, i])),
      merges,
    },
  };
}

const tokenizerConfig = {
  bos_token: '<s>',
  clean_up_tokenization_spaces: false,
  eos_token: '</s>',
  model_max_length: config.max_position_embeddings,
  tokenizer_class: 'PreTrainedTokenizerFast',
  unk_token: '<unk>',
};

// Weights. Residual stream: entry 0 is constant, then come the codes of the current token and of those one and two back.
const codeSize = 30;
const slot = (back: number): number => 1 + back * codeSize;
const embeddingNorm = Math.sqrt((1 + codeSize) / hidden); // every embedding has 1 + codeSize entries of ±1

type Matrix = (row: number, column: number) => number;
const noise =
  (size: number): Matrix =>
  () =>
    (random() * 2 - 1) * size;

/** bf16 bits of a matrix, row-major. */
function tensor(name: string, rows: number, columns: number, value: Matrix): TensorSource & { data: Uint8Array } {
  const bits = Uint16Array.from({ length: rows * columns }, (_, i) =>
    f32ToBf16Bits(Math.fround(value(Math.floor(i / columns), i % columns))),
  );
  return { name, dtype: 'bf16', shape: columns === 1 ? [rows] : [rows, columns], data: new Uint8Array(bits.buffer) };
}

/** Query that, against a key of ones in the cosine halves, peaks where the key is `back` positions earlier. */
function phase(i: number, back: number): number {
  const pair = i % (headDim / 2);
  const angle = back / config.rope_parameters.rope_theta ** ((2 * pair) / headDim);
  return i < headDim / 2 ? Math.cos(angle) : -Math.sin(angle);
}

function layer(index: number): TensorSource[] {
  const name = (part: string): string => `model.layers.${index}.${part}.weight`;
  const [queries, keys] = [config.num_attention_heads * headDim, config.num_key_value_heads * headDim];
  const sharpness = 12; // of attention: scores differ by several nats between neighbouring positions
  const designed = index === 0;
  const small = noise(0.02);
  const head = (row: number): number => Math.floor(row / headDim);
  return [
    tensor(name('input_layernorm'), hidden, 1, () => 1),
    tensor(name('post_attention_layernorm'), hidden, 1, () => 1),
    tensor(name('self_attn.q_proj'), queries, hidden, (r, c) =>
      designed ? (c === 0 ? sharpness * embeddingNorm * phase(r % headDim, 1 + (head(r) % 2)) : 0) : small(r, c),
    ),
    tensor(name('self_attn.k_proj'), keys, hidden, (r, c) =>
      designed ? (c === 0 && r % headDim < headDim / 2 ? sharpness * embeddingNorm : 0) : small(r, c),
    ),
    // Key-value head g carries half g of the code.
    tensor(name('self_attn.v_proj'), keys, hidden, (r, c) =>
      designed ? (r < codeSize && c === slot(0) + r ? embeddingNorm : 0) : small(r, c),
    ),
    tensor(name('self_attn.o_proj'), hidden, queries, (r, c) => {
      if (!designed) return small(r, c);
      const [back, group] = [1 + (head(c) % 2), Math.floor(head(c) / 2)];
      return r === slot(back) + group * headDim + (c % headDim) && group * headDim + (c % headDim) < codeSize ? 1 : 0;
    }),
    tensor(name('mlp.gate_proj'), intermediate, hidden, noise(0.15)),
    tensor(name('mlp.up_proj'), intermediate, hidden, noise(0.15)),
    tensor(name('mlp.down_proj'), hidden, intermediate, noise(0.02)),
  ];
}

const dot = (head: Float64Array, row: number, x: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < hidden; i++) sum += head[row * hidden + i] * x[i];
  return sum;
};

/** Probabilities of the next token. */
function predict(head: Float64Array, x: Float64Array): Float64Array {
  const logits = Float64Array.from({ length: vocab }, (_, v) => dot(head, v, x));
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const weights = logits.map((l) => Math.exp(l - largest));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((w) => w / total);
}

/** A head that predicts `targets` from `states`, by gradient descent on the cross entropy, until every one is likely. */
function fitHead(states: readonly Float64Array[], targets: readonly number[]): Float64Array {
  const head = new Float64Array(vocab * hidden);
  const rate = 0.02;
  for (let epoch = 0, worst = 0; epoch < 1000 && worst < 0.8; epoch++) {
    worst = 1;
    states.forEach((x, n) => {
      const probabilities = predict(head, x);
      worst = Math.min(worst, probabilities[targets[n]]);
      for (let v = 0; v < vocab; v++) {
        const gradient = probabilities[v] - (v === targets[n] ? 1 : 0);
        if (Math.abs(gradient) < 1e-4) continue;
        for (let i = 0; i < hidden; i++) head[v * hidden + i] -= rate * gradient * x[i];
      }
    });
  }
  return head;
}

/** Final hidden states of a sequence, from the checkpoint as it is on disk. */
async function hiddenStates(dir: string, ids: readonly number[]): Promise<Float64Array[]> {
  const checkpoint = await openCheckpoint(dir);
  const limits = { batch: 1, length: ids.length, chunk: ids.length };
  const model = fittedModel(checkpoint, 'causal-lm');
  const { graph, constants } = model.trace('forward', limits, weightResolver(checkpoint));
  const dims = { batch: 1, seq: ids.length, past: 0, capacity: ids.length };
  const params = new Map<string, NdArray>([
    ['input_ids', ndarray('i32', [1, ids.length], ids)],
    ['padding', ndarray('i32', [1])],
    [
      'position_ids',
      ndarray(
        'i32',
        [1, ids.length],
        ids.map((_, i) => i),
      ),
    ],
  ]);
  for (const [name, t] of checkpoint.tensors) params.set(name, await readTensor(t.span, 'bf16', t.shape));
  for (const [name, data] of constants) params.set(name, ndarray('f32', [data.length], data));
  for (const { attrs } of graph.params) {
    const shape = attrs.shape.map((d) => (d.vars.has('batch') ? 1 : d.vars.has('capacity') ? ids.length : d.max));
    if (attrs.kind === 'state') params.set(attrs.name, ndarray(attrs.dtype, shape));
  }
  const { results } = evaluate(graph, { params, dims });
  const { data } = results.get(`hidden_states.${config.num_hidden_layers}`)!;
  return ids.map((_, i) => data.slice(i * hidden, (i + 1) * hidden));
}

const dir = process.argv[2] ?? 'examples/tiny-llama';
const json = (name: string, value: object): Promise<void> =>
  writeFile(join(dir, name), `${JSON.stringify(value, null, 1)}\n`);
await mkdir(dir, { recursive: true });
const tokenizerJson = makeTokenizer();
await json('config.json', config);
await json('generation_config.json', { bos_token_id: config.bos_token_id, eos_token_id: config.eos_token_id });
await json('tokenizer.json', tokenizerJson);
await json('tokenizer_config.json', tokenizerConfig);

const codes = tensor('model.embed_tokens.weight', vocab, hidden, (_, c) =>
  c === 0 ? 1 : c < slot(1) ? (random() < 0.5 ? -1 : 1) : 0,
);
const body = [codes, layer(0), layer(1), tensor('model.norm.weight', hidden, 1, () => 1)].flat();
const path = join(dir, 'model.safetensors');
await writeSafetensors(path, [...body, tensor('lm_head.weight', vocab, hidden, () => 0)]);

const files = { where: dir, tokenizer: { ...tokenizerJson }, config: tokenizerConfig, chatTemplates: {} };
const ids = [...createTokenizer(files).encode(story), config.eos_token_id];
const states = await hiddenStates(dir, ids.slice(0, -1));
const head = fitHead(states, ids.slice(1));
const rounded = head.map((w) => bf16BitsToF32(f32ToBf16Bits(Math.fround(w))));
const wrong = states.filter((x, n) => {
  const probabilities = predict(rounded, x);
  return probabilities.indexOf(Math.max(...probabilities)) !== ids[n + 1];
});
await writeSafetensors(path, [...body, tensor('lm_head.weight', vocab, hidden, (r, c) => head[r * hidden + c])]);
console.log(`${dir}: ${ids.length} tokens of story, ${wrong.length} of them not recalled`);
