// The decoders that came after GPT-2, each with names of its own for the fields of its config: GPT-J, CodeGen, GPT-Neo,
// GPT-NeoX, BLOOM, MPT, Falcon and OPT, with the defaults of transformers' config classes.
import { BloomForCausalLM } from '../../../models/bloom.ts';
import { FalconForCausalLM } from '../../../models/falcon.ts';
import { GptNeoForCausalLM } from '../../../models/gpt-neo.ts';
import { GptNeoxForCausalLM } from '../../../models/gpt-neox.ts';
import { CodegenForCausalLM, type GptjConfig, GptjForCausalLM } from '../../../models/gptj.ts';
import { MptForCausalLM } from '../../../models/mpt.ts';
import { OptForCausalLM } from '../../../models/opt.ts';
import type { DecoderDropout } from '../../../models/parts/attention.ts';
import { Fields } from '../fields.ts';
import { readRope } from '../rope.ts';
import { type CausalFamily, headSize, requireValue } from './family.ts';

/** Rates of dropout under the names that a family has for them; what it has no name for is not dropped. */
function readDropout(
  config: Fields,
  embeddings: string | undefined,
  probabilities: string,
  residual: string,
): DecoderDropout {
  return {
    embeddings: embeddings === undefined ? 0 : config.rate(embeddings, 0),
    probabilities: config.rate(probabilities, 0),
    residual: config.rate(residual, 0),
  };
}

function readGptj(config: Fields): GptjConfig & { readonly positions: number } {
  const hiddenSize = config.size('n_embd', 4096);
  const heads = config.size('n_head', 16);
  const head = headSize(config, 'n_embd', hiddenSize, 'n_head', heads);
  const dim = config.size('rotary_dim', 64);
  if (dim > head || dim % 2 !== 0) config.fail('rotary_dim', `an even number of at most ${head}, the size of a head`);
  return {
    vocabSize: config.size('vocab_size', 50400),
    hiddenSize,
    intermediateSize: config.size('n_inner', 4 * hiddenSize),
    layers: config.parts('n_layer', 28),
    heads,
    positions: config.size('n_positions', 2048),
    activation: config.activation('activation_function', 'gelu_new'),
    mlpBias: true,
    normEps: config.positive('layer_norm_epsilon', 1e-5),
    tiedEmbeddings: config.isTied(false),
    rope: { dim, theta: 10000, scaling: { type: 'default' } },
    dropout: readDropout(config, 'embd_pdrop', 'attn_pdrop', 'resid_pdrop'),
  };
}

const gptj: CausalFamily = {
  prefix: 'transformer',
  loraTargets: ['q_proj', 'v_proj'],
  read(config) {
    const { positions: maxPositions, ...read } = readGptj(config);
    return { model: new GptjForCausalLM(read), vocabSize: read.vocabSize, maxPositions };
  },
};

const codegen: CausalFamily = {
  prefix: 'transformer',
  loraTargets: ['qkv_proj'],
  read(config) {
    const { positions: maxPositions, ...read } = readGptj(config);
    if (read.heads % 4 !== 0) config.fail('n_head', 'a multiple of 4');
    return { model: new CodegenForCausalLM(read), vocabSize: read.vocabSize, maxPositions };
  },
};

/** 'global' or 'local' for every layer, from a list or from [[kinds, times], …]. */
function localLayers(config: Fields, layers: number): boolean[] {
  const { attention_layers: list, attention_types: types = [[['global', 'local'], layers / 2]] } = config.json;
  const spread = (item: unknown): unknown[] =>
    Array.isArray(item) && Array.isArray(item[0]) && Number.isSafeInteger(item[1]) && item[1] <= layers
      ? new Array<unknown[]>(item[1] as number).fill(item[0]).flat()
      : [];
  const kinds: unknown[] = Array.isArray(list) ? list : Array.isArray(types) ? types.flatMap(spread) : [];
  const isLocal = kinds.map((kind) => kind === 'local');
  if (kinds.length !== layers || kinds.some((kind) => kind !== 'local' && kind !== 'global')) {
    config.fail(
      Array.isArray(list) ? 'attention_layers' : 'attention_types',
      `'global' or 'local' for ${layers} layers`,
    );
  }
  return isLocal;
}

const gptNeo: CausalFamily = {
  prefix: 'transformer',
  loraTargets: ['q_proj', 'v_proj'],
  read(config) {
    const vocabSize = config.size('vocab_size', 50257);
    const hiddenSize = config.size('hidden_size', 2048);
    const heads = config.size('num_heads', 16);
    headSize(config, 'hidden_size', hiddenSize, 'num_heads', heads);
    const layers = config.parts('num_layers', 24);
    const window = config.count('window_size', 256);
    const positions = config.size('max_position_embeddings', 2048);
    const model = new GptNeoForCausalLM({
      vocabSize,
      hiddenSize,
      intermediateSize: config.size('intermediate_size', 4 * hiddenSize),
      layers,
      heads,
      positions,
      activation: config.activation('activation_function', 'gelu_new'),
      mlpBias: true,
      normEps: config.positive('layer_norm_epsilon', 1e-5),
      tiedEmbeddings: config.isTied(true),
      windows: localLayers(config, layers).map((isLocal) => (isLocal ? window : 0)),
      dropout: readDropout(config, 'embed_dropout', 'attention_dropout', 'resid_dropout'),
    });
    return { model, vocabSize, maxPositions: positions };
  },
};

const gptNeox: CausalFamily = {
  prefix: 'gpt_neox',
  loraTargets: ['query_key_value'],
  read(fields) {
    const { rotary_pct = 0.25, rotary_emb_base = 10000 } = fields.json;
    const config = fields.withDefaults({ partial_rotary_factor: rotary_pct, rope_theta: rotary_emb_base });
    const vocabSize = config.size('vocab_size', 50432);
    const hiddenSize = config.size('hidden_size', 6144);
    const heads = config.size('num_attention_heads', 64);
    const head = headSize(config, 'hidden_size', hiddenSize, 'num_attention_heads', heads);
    const maxPositions = config.count('max_position_embeddings', 2048);
    const model = new GptNeoxForCausalLM({
      vocabSize,
      hiddenSize,
      intermediateSize: config.size('intermediate_size', 24576),
      layers: config.parts('num_hidden_layers', 44),
      heads,
      activation: config.activation('hidden_act', 'gelu'),
      mlpBias: true,
      normEps: config.positive('layer_norm_eps', 1e-5),
      attentionBias: config.flag('attention_bias', true),
      isParallel: config.flag('use_parallel_residual', true),
      tiedEmbeddings: config.isTied(false),
      rope: readRope(config, head, maxPositions),
      dropout: readDropout(config, 'hidden_dropout', 'attention_dropout', 'hidden_dropout'),
    });
    return { model, vocabSize, maxPositions };
  },
};

/** Positions of models whose biases have no end: what BLOOM was trained with. */
const openPositions = 2048;

const bloom: CausalFamily = {
  prefix: 'transformer',
  loraTargets: ['query_key_value'],
  read(fields) {
    const config = fields.withDefaults({ hidden_size: 64, n_head: 8, n_layer: 2 });
    const vocabSize = config.size('vocab_size', 250880);
    const hiddenSize = config.size('hidden_size');
    const heads = config.size('n_head');
    headSize(config, 'hidden_size', hiddenSize, 'n_head', heads);
    const model = new BloomForCausalLM({
      vocabSize,
      hiddenSize,
      layers: config.parts('n_layer'),
      heads,
      normEps: config.positive('layer_norm_epsilon', 1e-5),
      residualAfterNorm: config.flag('apply_residual_connection_post_layernorm', false),
      dropout: readDropout(config, undefined, 'attention_dropout', 'hidden_dropout'),
      tiedEmbeddings: config.isTied(true),
    });
    return { model, vocabSize, maxPositions: config.count('seq_length', openPositions) };
  },
};

const mpt: CausalFamily = {
  prefix: 'transformer',
  loraTargets: ['Wqkv'],
  read(config) {
    const attention = config.object('attn_config') ?? new Fields({}, config.where);
    const vocabSize = config.size('vocab_size', 50368);
    const hiddenSize = config.size('d_model', 2048);
    const heads = config.size('n_heads', 16);
    const head = headSize(config, 'd_model', hiddenSize, 'n_heads', heads);
    const model = new MptForCausalLM({
      vocabSize,
      hiddenSize,
      layers: config.parts('n_layers', 24),
      heads,
      normEps: config.positive('layer_norm_epsilon', 1e-5),
      attentionScale: attention.positive('softmax_scale', head ** -0.5),
      clip: attention.number('clip_qkv', 0),
      dropout: readDropout(attention, undefined, 'attn_pdrop', 'attn_pdrop'),
      tiedEmbeddings: config.isTied(true),
    });
    return { model, vocabSize, maxPositions: config.count('max_seq_len', 2048) };
  },
};

const falcon: CausalFamily = {
  prefix: 'transformer',
  loraTargets: ['query_key_value'],
  read(config) {
    const vocabSize = config.size('vocab_size', 65024);
    const hiddenSize = config.size('hidden_size', 4544);
    const heads = config.size('num_attention_heads', 71);
    const head = headSize(config, 'hidden_size', hiddenSize, 'num_attention_heads', heads);
    const maxPositions = config.count('max_position_embeddings', 2048);
    const isNew = config.flag('new_decoder_architecture', false);
    if (isNew) requireValue(config, 'parallel_attn', true);
    const ownHeads = config.size('num_kv_heads', heads);
    const kvHeads = isNew || !config.flag('multi_query', true) ? ownHeads : 1;
    if (heads % kvHeads !== 0) config.fail('num_kv_heads', `a divisor of num_attention_heads ${heads}`);
    const isTwo = isNew && config.count('num_ln_in_parallel_attn', 2) === 2;
    const isParallel = config.flag('parallel_attn', true);
    const model = new FalconForCausalLM({
      vocabSize,
      hiddenSize,
      intermediateSize: config.size('ffn_hidden_size', 4 * hiddenSize),
      layers: config.parts('num_hidden_layers', 32),
      heads,
      kvHeads,
      activation: config.activation('activation', 'gelu'),
      bias: config.flag('bias', false),
      mlpBias: config.flag('bias', false),
      normEps: config.positive('layer_norm_epsilon', 1e-5),
      arrangement: isTwo ? 'parallel-two' : isParallel ? 'parallel' : 'sequential',
      tiedEmbeddings: config.isTied(true),
      rope: config.flag('alibi', false) ? undefined : readRope(config, head, maxPositions),
      dropout: readDropout(config, undefined, 'attention_dropout', 'hidden_dropout'),
    });
    return { model, vocabSize, maxPositions };
  },
};

const opt: CausalFamily = {
  prefix: 'model',
  loraTargets: ['q_proj', 'v_proj'],
  read(config) {
    const vocabSize = config.size('vocab_size', 50272);
    const hiddenSize = config.size('hidden_size', 768);
    const heads = config.size('num_attention_heads', 12);
    headSize(config, 'hidden_size', hiddenSize, 'num_attention_heads', heads);
    const positions = config.size('max_position_embeddings', 2048);
    const normBefore = config.flag('do_layer_norm_before', true);
    const model = new OptForCausalLM({
      vocabSize,
      hiddenSize,
      intermediateSize: config.size('ffn_dim', 3072),
      embeddingSize: config.size('word_embed_proj_dim', hiddenSize),
      layers: config.parts('num_hidden_layers', 12),
      heads,
      positions,
      activation: config.activation('activation_function', 'relu'),
      bias: config.flag('enable_bias', true),
      normBefore,
      dropout: { probabilities: config.rate('attention_dropout', 0), residual: config.rate('dropout', 0.1) },
      lastNorm: normBefore && !config.flag('_remove_final_layer_norm', false),
      normWeights: config.flag('layer_norm_elementwise_affine', true),
      tiedEmbeddings: config.isTied(true),
    });
    return { model, vocabSize, maxPositions: positions };
  },
};

export const gptFamilies: Readonly<Record<string, CausalFamily>> = {
  bloom,
  codegen,
  falcon,
  gpt_neo: gptNeo,
  gpt_neox: gptNeox,
  gptj,
  mpt,
  opt,
};
