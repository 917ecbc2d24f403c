// What transformers' tokenizer classes know that files need not say: special tokens, model inputs, the side of padding, and
// how options of tokenizer_config.json change the parts of tokenizer.json. The class is the one that AutoTokenizer takes.
import { isObject, type JsonObject } from './backend/fields.ts';

export const roles = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;
export type Role = (typeof roles)[number];

export interface TokenizerClass {
  /** Tokens by role, where the files name none. */
  readonly specials?: Readonly<Partial<Record<Role, string>>>;
  /** What the model reads (input_ids and attention_mask). */
  readonly inputs?: readonly string[];
  /** Where padding goes ('right'). */
  readonly side?: 'left';
  /** tokenizer.json under the options of tokenizer_config.json. */
  readonly change?: (json: JsonObject, options: JsonObject) => JsonObject;
  /** What stands around a text, and around a pair: A and B, and roles of tokens; `B1` and `sep1` are of the second segment. */
  readonly template?: readonly [single: string, pair: string];
  /** More special tokens where the files list none, by the options. */
  readonly extra?: (options: JsonObject) => readonly string[];
}

const withTypes = ['input_ids', 'token_type_ids', 'attention_mask'];
const typesLast = ['input_ids', 'attention_mask', 'token_type_ids'];

/** `null` asks for the default, as in Python. */
const flag = (options: JsonObject, name: string, otherwise: boolean): boolean =>
  typeof options[name] === 'boolean' ? options[name] : otherwise;

const bertTokens = {
  unk_token: '[UNK]',
  sep_token: '[SEP]',
  pad_token: '[PAD]',
  cls_token: '[CLS]',
  mask_token: '[MASK]',
};
const fairseqTokens = {
  bos_token: '<s>',
  eos_token: '</s>',
  unk_token: '<unk>',
  sep_token: '</s>',
  pad_token: '<pad>',
  cls_token: '<s>',
  mask_token: '<mask>',
};
const gpt2Tokens = { bos_token: '<|endoftext|>', eos_token: '<|endoftext|>', unk_token: '<|endoftext|>' };
const llamaTokens = { unk_token: '<unk>', bos_token: '<s>', eos_token: '</s>' };
const albertTokens = { ...bertTokens, bos_token: '[CLS]', eos_token: '[SEP]', unk_token: '<unk>', pad_token: '<pad>' };

/** Parts of a type, wherever they stand in a part, with other fields. */
function withParts(part: unknown, type: string, change: (part: JsonObject) => JsonObject | undefined): unknown {
  if (Array.isArray(part)) return part.map((p) => withParts(p, type, change)).filter((p) => p !== undefined);
  if (!isObject(part)) return part;
  if (part.type === type) return change(part);
  const inner = ['normalizers', 'pretokenizers', 'decoders'].find((name) => Array.isArray(part[name]));
  return inner === undefined ? part : { ...part, [inner]: withParts(part[inner], type, change) };
}

const bertNormalizer = (json: JsonObject, options: JsonObject): JsonObject => ({
  ...json,
  normalizer: {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: flag(options, 'tokenize_chinese_chars', true),
    strip_accents: typeof options.strip_accents === 'boolean' ? options.strip_accents : null,
    lowercase: flag(options, 'do_lower_case', true),
  },
});

/** Byte-level words begin with a space where `add_prefix_space` says so. */
const byteLevelWords =
  (otherwise = false) =>
  (json: JsonObject, options: JsonObject): JsonObject => ({
    ...json,
    pre_tokenizer: withParts(json.pre_tokenizer, 'ByteLevel', (part) => ({
      ...part,
      add_prefix_space: flag(options, 'add_prefix_space', otherwise),
    })),
  });

const prepending = (json: JsonObject, scheme: string): JsonObject => {
  const change = ({ add_prefix_space: _, ...part }: JsonObject): JsonObject => ({ ...part, prepend_scheme: scheme });
  return {
    ...json,
    pre_tokenizer: withParts(json.pre_tokenizer, 'Metaspace', change),
    decoder: withParts(json.decoder, 'Metaspace', change),
  };
};

const metaspaceWords = (json: JsonObject, options: JsonObject): JsonObject =>
  prepending(json, flag(options, 'add_prefix_space', true) ? 'always' : 'never');

/** Files of Llama mark the first word by a normalizer or by a pre-tokenizer. */
function llamaWords(json: JsonObject, options: JsonObject): JsonObject {
  const hasPrefix = flag(options, 'add_prefix_space', true);
  const scheme = hasPrefix ? (flag(options, 'legacy', false) ? 'always' : 'first') : 'never';
  const changed = prepending(json, scheme);
  if (hasPrefix) return changed;
  return {
    ...changed,
    normalizer: withParts(changed.normalizer, 'Prepend', () => undefined) ?? null,
    decoder: withParts(changed.decoder, 'Strip', () => undefined) ?? null,
  };
}

function albertNormalizer(json: JsonObject, options: JsonObject): JsonObject {
  const compiled: unknown[] = [];
  withParts(json.normalizer, 'Precompiled', (part) => {
    compiled.push(part);
    return part;
  });
  const quotes = ['``', "''"].map((quote) => ({ type: 'Replace', pattern: { String: quote }, content: '"' }));
  const accents = flag(options, 'keep_accents', false) ? [] : [{ type: 'NFKD' }, { type: 'StripAccents' }];
  const lower = flag(options, 'do_lower_case', true) ? [{ type: 'Lowercase' }] : [];
  const normalizers = [...quotes, ...accents, ...lower, ...compiled];
  return { ...metaspaceWords(json, options), normalizer: { type: 'Sequence', normalizers } };
}

const count = (options: JsonObject, name: string, otherwise: number): number => {
  const n = options[name] ?? otherwise;
  return typeof n === 'number' && Number.isInteger(n) && n >= 0 && n <= 10000 ? n : otherwise;
};

const sentinels = (options: JsonObject): readonly string[] =>
  Array.from({ length: count(options, 'extra_ids', 100) }, (_, i) => `<extra_id_${i}>`);

const bert: TokenizerClass = {
  specials: bertTokens,
  inputs: withTypes,
  change: bertNormalizer,
  template: ['cls A sep', 'cls A sep B1 sep1'],
};
const roberta: TokenizerClass = {
  specials: fairseqTokens,
  change: byteLevelWords(),
  template: ['cls A sep', 'cls A sep sep B sep'],
};
const gpt2: TokenizerClass = { specials: gpt2Tokens, change: byteLevelWords() };
const qwen2: TokenizerClass = {
  specials: { unk_token: '<|endoftext|>', eos_token: '<|endoftext|>', pad_token: '<|endoftext|>' },
  change: byteLevelWords(),
};
const xlmRoberta: TokenizerClass = {
  specials: fairseqTokens,
  change: metaspaceWords,
  template: ['bos A eos', 'bos A eos eos B eos'],
};
const llama: TokenizerClass = { specials: llamaTokens, side: 'left', change: llamaWords };
const backend: TokenizerClass = {};

/** The classes that know something; all others know nothing. */
const classes: Readonly<Record<string, TokenizerClass>> = {
  AlbertTokenizer: {
    specials: albertTokens,
    change: albertNormalizer,
    template: ['cls A sep', 'cls A sep B1 sep1'],
  },
  BartTokenizer: roberta,
  BertTokenizer: bert,
  BigBirdTokenizer: {
    specials: { ...fairseqTokens, sep_token: '[SEP]', mask_token: '[MASK]', cls_token: '[CLS]' },
    change: metaspaceWords,
    template: ['cls A sep', 'cls A sep B1 sep1'],
  },
  BlenderbotTokenizer: { specials: fairseqTokens, change: byteLevelWords(true) },
  CamembertTokenizer: { ...xlmRoberta, extra: () => ['<s>NOTUSED', '</s>NOTUSED', '<unk>NOTUSED'] },
  CLIPTokenizer: {
    specials: { unk_token: '<|endoftext|>', bos_token: '<|startoftext|>', eos_token: '<|endoftext|>', pad_token: '<|endoftext|>' }, // biome-ignore format: one row
  },
  CodeGenTokenizer: gpt2,
  CodeLlamaTokenizer: llama,
  CohereTokenizer: {
    specials: {
      bos_token: '<BOS_TOKEN>',
      eos_token: '<|END_OF_TURN_TOKEN|>',
      unk_token: '<UNK>',
      sep_token: '<SEP>',
      pad_token: '<PAD>',
      cls_token: '<CLS>',
      mask_token: '<MASK_TOKEN>',
    },
    side: 'left',
    change: byteLevelWords(),
  },
  ConvBertTokenizer: { ...bert, change: undefined },
  DebertaTokenizer: {
    specials: { ...bertTokens, bos_token: '[CLS]', eos_token: '[SEP]' },
    inputs: typesLast,
    change: byteLevelWords(),
    template: ['cls A sep', 'cls A sep sep B sep'],
  },
  DebertaV2Tokenizer: {
    specials: { ...bertTokens, bos_token: '[CLS]', eos_token: '[SEP]' },
    inputs: typesLast,
    change: metaspaceWords,
    template: ['cls A sep', 'cls A sep B1 sep1'],
  },
  DistilBertTokenizer: { ...bert, inputs: undefined },
  DPRQuestionEncoderTokenizer: bert,
  ElectraTokenizer: bert,
  FNetTokenizer: { specials: albertTokens, inputs: ['input_ids', 'token_type_ids'], change: albertNormalizer, template: ['cls A sep', 'cls A sep B1 sep1'] }, // biome-ignore format: one row
  GemmaTokenizer: {
    specials: { bos_token: '<bos>', eos_token: '<eos>', unk_token: '<unk>', pad_token: '<pad>', mask_token: '<mask>' },
    side: 'left',
  },
  GPT2Tokenizer: gpt2,
  GPTNeoXTokenizer: { specials: { ...gpt2Tokens, pad_token: '<|padding|>' }, change: byteLevelWords() },
  LayoutLMTokenizer: bert,
  LEDTokenizer: roberta,
  LlamaTokenizer: llama,
  LongformerTokenizer: roberta,
  LxmertTokenizer: bert,
  M2M100Tokenizer: { specials: { ...fairseqTokens, mask_token: undefined, cls_token: undefined } },
  MarianTokenizer: { specials: { unk_token: '<unk>', eos_token: '</s>', pad_token: '<pad>' } },
  MBartTokenizer: { specials: fairseqTokens },
  MBart50Tokenizer: { specials: { ...fairseqTokens, bos_token: undefined } },
  MobileBertTokenizer: bert,
  MPNetTokenizer: {
    specials: { ...fairseqTokens, unk_token: '[UNK]' },
    change: bertNormalizer,
    template: ['cls A sep', 'cls A sep sep B sep'],
  },
  MvpTokenizer: roberta,
  NllbTokenizer: { specials: fairseqTokens },
  PegasusTokenizer: {
    specials: { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>', mask_token: '<mask_2>' },
    template: ['A eos', 'A B eos'],
    extra: (options) => ['<mask_1>', ...Array.from({ length: Math.max(0, count(options, 'offset', 103) - 2) }, (_, i) => `<unk_${i + 2}>`)], // biome-ignore format: one row
  },
  Qwen2Tokenizer: qwen2,
  Qwen3_5Tokenizer: qwen2,
  RemBertTokenizer: { specials: albertTokens, change: metaspaceWords },
  RobertaTokenizer: roberta,
  SqueezeBertTokenizer: bert,
  T5Tokenizer: {
    specials: { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' },
    template: ['A eos', 'A eos B eos'],
    extra: sentinels,
  },
  WhisperTokenizer: gpt2,
  XGLMTokenizer: {
    specials: { ...fairseqTokens, mask_token: undefined },
    change: metaspaceWords,
    template: ['eos A', 'eos A eos eos B'],
    extra: () => Array.from({ length: 7 }, (_, i) => `<madeupword${i}>`),
  },
  XLMRobertaTokenizer: xlmRoberta,
  XLNetTokenizer: {
    specials: { ...fairseqTokens, sep_token: '<sep>', cls_token: '<cls>' },
    side: 'left',
    change: metaspaceWords,
    extra: () => ['<eop>', '<eod>'],
  },
};

/** Whether a class of this name knows something. */
export const isKnownClass = (name: string): boolean => Object.hasOwn(classes, plainName(name));

/** Classes by the model_type of config.json; 'backend': the class that knows nothing. */
const modelTypes: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries({
    AlbertTokenizer: 'albert yoso',
    BertTokenizer:
      'align bark bert blip bros chinese_clip convbert distilbert electra ernie flava git grounding-dino layoutlm megatron-bert mm-grounding-dino nezha nomic_bert qdqbert realm retribert squeezebert tvp vilt visual_bert',
    BigBirdTokenizer: 'big_bird',
    BlenderbotTokenizer: 'blenderbot',
    CLIPTokenizer: 'aimv2 clip clipseg groupvit owlv2 owlvit xclip',
    CamembertTokenizer: 'camembert',
    CodeLlamaTokenizer: 'code_llama',
    CohereTokenizer: 'aya_vision cohere cohere2',
    DPRQuestionEncoderTokenizer: 'dpr',
    DebertaTokenizer: 'deberta',
    DebertaV2Tokenizer: 'deberta-v2',
    FNetTokenizer: 'fnet',
    GPT2Tokenizer: 'blip-2 codegen dbrx emu3 gpt2 gpt_neo gptj instructblip jais2 opt phi starcoder2',
    GPTNeoXTokenizer: 'falcon_mamba gpt_neox mamba mamba2 mpt olmo olmoe rwkv xlstm',
    GemmaTokenizer: 'gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma shieldgemma2 t5gemma',
    LEDTokenizer: 'led',
    LlamaTokenizer: 'idefics idefics2',
    LxmertTokenizer: 'lxmert',
    M2M100Tokenizer: 'm2m_100',
    MBart50Tokenizer: 'mbart50',
    MBartTokenizer: 'mbart',
    MPNetTokenizer: 'mpnet',
    MarianTokenizer: 'marian',
    MobileBertTokenizer: 'mobilebert',
    MvpTokenizer: 'mvp',
    NllbTokenizer: 'nllb nllb-moe',
    PegasusTokenizer: 'pegasus',
    Qwen2Tokenizer: 'qwen2 qwen2_5_omni qwen2_5_vl qwen2_audio qwen2_moe qwen2_vl qwen3 qwen3_moe qwen3_next qwen3_vl',
    Qwen3_5Tokenizer: 'qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text',
    RemBertTokenizer: 'rembert',
    RobertaTokenizer: 'bart bridgetower clap data2vec-text ibert lilt longformer mega mra roberta roberta-prelayernorm',
    T5Tokenizer: 'mt5 musicgen musicgen_melody switch_transformers t5',
    WhisperTokenizer: 'whisper',
    XGLMTokenizer: 'xglm',
    XLMRobertaTokenizer: 'gte jina_embeddings_v3 metaclip_2 trocr xlm-roberta xmod',
    XLNetTokenizer: 'xlnet',
    backend:
      'arctic bigbird_pegasus deepseek_v2 deepseek_v3 deepseek_v32 ernie4_5 ernie4_5_moe flex_olmo fuyu glm glm4 glm4_moe glm4_moe_lite gpt_bigcode granite granitemoe granitemoehybrid granitemoeshared internlm2 jamba kimi_linear kosmos-2 llava llava_next minicpm3 minimax_m2 ministral ministral3 mistral mistral3 mixtral modernbert modernbert-decoder molmo nemotron nystromformer olmo2 olmo3 olmo_hybrid pegasus_x persimmon phi3 phi3_v phimoe pix2struct pixtral smolvlm stablelm umt5 vipllava xlm-roberta-xl',
  }).flatMap(([name, types]) => types.split(' ').map((type) => [type, name])),
);

/** Models whose published files name a wrong class. */
const wrongClass = /^qwen(2|3_5|3_5_moe|3_5_moe_text)$/;

const plainName = (name: string): string => name.replace(/Fast$/, '');

/** A class, with its name if it is one that knows something. */
export interface NamedClass extends TokenizerClass {
  readonly name?: string;
}

/** The class that AutoTokenizer takes for the class that the files name, if they do, and the model_type of config.json. */
export function tokenizerClassOf(named: string | undefined, modelType: string | undefined): NamedClass {
  const known = (name: string): NamedClass => (Object.hasOwn(classes, name) ? { ...classes[name], name } : backend);
  const mapped = modelType !== undefined && Object.hasOwn(modelTypes, modelType) ? modelTypes[modelType] : undefined;
  if (named === undefined) return known(mapped ?? 'backend');
  if (mapped === 'backend') return backend;
  if (mapped !== undefined && modelType !== undefined && wrongClass.test(modelType)) return known(mapped);
  return known(plainName(named));
}
