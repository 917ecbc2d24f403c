// The tokenizer of a tokenizer.json, part by part as Python's tokenizers library runs it: added tokens, normalizer,
// pre-tokenizer, model, post-processor and decoder.
import { ModelcError } from '../../../ir/error.ts';
import { type AddedToken, AddedTokens, addedToken } from './added-tokens.ts';
import { type Decoder, hasDecoder, makeDecoder } from './decoders.ts';
import { Fields, type JsonObject } from './fields.ts';
import type { Model } from './model.ts';
import { makeModel } from './models.ts';
import { makeNormalizer, type Normalizer } from './normalizers.ts';
import { type Encoded, joined, makePostProcessor, type PostProcessor, plain } from './post-processors.ts';
import { makePreTokenizer, preTokenize, type Step } from './pre-tokenizers.ts';

export type TruncationStrategy = 'longest_first' | 'only_first' | 'only_second';

export interface Truncation {
  readonly max_length: number;
  readonly strategy: TruncationStrategy;
  readonly side: 'left' | 'right';
}

/** A word, or an added token with its text. */
type Unit = string | { readonly id: number; readonly name: string };

export class Engine {
  readonly added: AddedTokens;
  private readonly normalizer: Normalizer | undefined;
  private readonly steps: readonly Step[];
  private readonly model: Model;
  private postProcessor: PostProcessor | undefined;
  private readonly decoder: Decoder | undefined;
  /** How tokens hold bytes. */
  readonly bytes: 'byte_level' | 'byte_fallback' | null;

  /** Throws ModelcError 'parse' or 'unsupported' that names the file and the field. `file`: its path, for messages. */
  constructor(
    json: JsonObject,
    private readonly file: string,
  ) {
    const fields = new Fields(json, file);
    const part = <T>(name: string, make: (fields: Fields) => T): T | undefined =>
      fields.has(name) ? make(fields.within(name)) : undefined;
    this.normalizer = part('normalizer', makeNormalizer);
    this.steps = part('pre_tokenizer', makePreTokenizer) ?? [];
    this.model = makeModel(fields.within('model'));
    this.postProcessor = part('post_processor', makePostProcessor);
    this.decoder = part('decoder', makeDecoder);
    this.added = new AddedTokens(this.model.vocabulary, this.normalizer);
    for (const token of fields.items('added_tokens', [])) {
      token.id('id');
      this.added.add(addedToken(token));
    }
    this.bytes = hasDecoder(json.decoder, 'ByteFallback')
      ? 'byte_fallback'
      : hasDecoder(json.decoder, 'ByteLevel')
        ? 'byte_level'
        : null;
  }

  /** The type of the model. */
  get type(): string {
    return this.model.type;
  }

  idOf(token: string): number | undefined {
    return this.added.idOf(token) ?? this.model.vocabulary.idOf(token);
  }
  tokenOf(id: number): string | undefined {
    return this.added.textOf(id) ?? this.model.vocabulary.tokenOf(id);
  }
  vocabulary(): Map<string, number> {
    const all = new Map(this.model.vocabulary.entries());
    for (const [id, { content }] of this.added.entries()) all.set(content, id);
    return all;
  }
  setPostProcessor(json: JsonObject): void {
    this.postProcessor = makePostProcessor(new Fields(json, this.file, 'post_processor'));
  }
  add(token: AddedToken): void {
    this.added.add(token);
  }

  /** How many special tokens a text or a pair gets. */
  specialCount(isPair: boolean): number {
    return this.postProcessor?.added(isPair) ?? 0;
  }

  encode(text: string, pair: string | null, addSpecial: boolean, truncation: Truncation | null): Encoded {
    // Words behind those that can be kept are not encoded; which text of a pair is the longer one is told without them.
    const first = truncation?.strategy === 'only_second' ? null : truncation;
    const texts = [this.encodeText(text, 0, first)];
    if (pair !== null) texts.push(this.encodeText(pair, 1, truncation));
    const cut = truncation ? this.truncated(texts, addSpecial, truncation) : texts;
    return joined(this.postProcessor?.process(cut, addSpecial) ?? cut);
  }

  private encodeText(text: string, type: number, truncation: Truncation | null): Encoded {
    const ids: number[] = [];
    const names = new Map<number, string>();
    const units = this.unitsOf(text);
    if (truncation?.side === 'left') return this.encodeEnd(units, type, truncation.max_length);
    for (const unit of units) {
      this.encodeUnit(unit, ids, names);
      if (truncation && ids.length >= truncation.max_length) break;
    }
    return plain(ids, type, names);
  }

  /** The last units, as many as have `count` tokens. */
  private encodeEnd(units: readonly Unit[], type: number, count: number): Encoded {
    const parts: Encoded[] = [];
    let length = 0;
    for (const unit of [...units].reverse()) {
      const part = plain([], type);
      this.encodeUnit(unit, part.ids, part.names);
      parts.push(plain(part.ids, type, part.names));
      length += part.ids.length;
      if (length >= count) break;
    }
    return joined(parts.reverse());
  }

  private encodeUnit(unit: Unit, ids: number[], names: Map<number, string>): void {
    if (typeof unit === 'string') {
      this.model.encode(unit, ids, names);
      return;
    }
    names.set(ids.length, unit.name);
    ids.push(unit.id);
  }

  /** A text's words and added tokens. */
  private unitsOf(text: string): Unit[] {
    const units: Unit[] = [];
    for (const part of this.added.split(text)) {
      const raw = text.slice(part.begin, part.end);
      if (part.id !== undefined) {
        units.push({ id: part.id, name: raw });
        continue;
      }
      const normalized = this.normalizer?.(raw) ?? raw;
      for (const { begin, end, id } of this.added.splitNormalized(normalized)) {
        const piece = normalized.slice(begin, end);
        if (id !== undefined) units.push({ id, name: piece });
        else if (begin < end) {
          for (const word of preTokenize(this.steps, piece, part.begin === 0 && begin === 0)) units.push(word);
        }
      }
    }
    return units;
  }

  private truncated(
    texts: readonly Encoded[],
    addSpecial: boolean,
    { max_length, strategy, side }: Truncation,
  ): readonly Encoded[] {
    const special = addSpecial ? this.specialCount(texts.length > 1) : 0;
    if (special > max_length) {
      throw new ModelcError('input', `max_length is ${max_length}, but the special tokens alone are ${special}`);
    }
    const lengths = keptLengths(
      texts.map(({ ids }) => ids.length),
      max_length - special,
      strategy,
    );
    return texts.map((text, i) => cut(text, lengths[i], side));
  }

  decode(ids: readonly number[], skipSpecial: boolean): string {
    const tokens: string[] = [];
    for (const id of ids) {
      const token = this.tokenOf(id);
      if (token !== undefined && !(skipSpecial && this.added.isSpecial(token))) tokens.push(token);
    }
    return this.decodeTokens(tokens);
  }

  decodeTokens(tokens: readonly string[]): string {
    return this.decoder ? this.decoder(tokens).join('') : tokens.join(' ');
  }
}

/** How many tokens are left of one text or two. */
function keptLengths(lengths: readonly number[], limit: number, strategy: TruncationStrategy): readonly number[] {
  const [a, b = 0] = lengths;
  const excess = a + b - limit;
  if (excess <= 0) return lengths;
  if (limit === 0) return lengths.map(() => 0);
  if (strategy !== 'longest_first') {
    const at = strategy === 'only_first' ? 0 : 1;
    if (lengths[at] === undefined || lengths[at] <= excess) {
      throw new ModelcError(
        'input',
        `truncation '${strategy}' cannot remove ${excess} tokens; use 'longest_first' or a larger max_length`,
      );
    }
    return lengths.map((length, i) => (i === at ? length - excess : length));
  }
  if (lengths.length === 1) return [limit];
  const shorter = Math.min(a, b);
  let kept = [shorter, shorter > limit ? shorter : Math.max(shorter, limit - shorter)];
  if (kept[0] + kept[1] > limit) kept = [Math.floor(limit / 2), Math.floor(limit / 2) + (limit % 2)];
  return a > b ? [kept[1], kept[0]] : kept;
}

function cut(text: Encoded, length: number, side: 'left' | 'right'): Encoded {
  if (length >= text.ids.length) return text;
  const from = side === 'right' ? 0 : text.ids.length - length;
  const names = new Map(
    [...text.names].flatMap(([i, name]) => (i >= from && i < from + length ? [[i - from, name]] : [])),
  );
  return { ...plain(text.ids.slice(from, from + length), text.types[0] ?? 0), names };
}
