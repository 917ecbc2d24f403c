// Tokenizers: text to token ids and back.
export { AutoTokenizer } from './auto-tokenizer.ts';
export type { Message } from './chat-template.ts';
export { createTokenizer, type PreTrainedTokenizer } from './tokenizer.ts';
export { type TrainTokenizerOptions, train_tokenizer } from './train-tokenizer.ts';
export type {
  BatchEncoding,
  ChatTemplateOptions,
  ListEncoding,
  TokenizeOptions,
  TokenizerLoadOptions,
} from './types.ts';
