// Post-processors of a tokenizer.json: special tokens around a text's tokens, and which text of a pair a token is of.
import type { Fields } from './fields.ts';

/** Tokens with their segments; `special`: 1 for those that a post-processor added. */
export interface Encoded {
  readonly ids: number[];
  readonly types: number[];
  readonly special: number[];
  /** Texts of tokens that have another than their vocabulary's, by place. */
  readonly names: Map<number, string>;
}

export const plain = (ids: number[], type: number, names = new Map<number, string>()): Encoded => ({
  ids,
  types: new Array<number>(ids.length).fill(type),
  special: new Array<number>(ids.length).fill(0),
  names,
});

export function joined(parts: readonly Encoded[]): Encoded {
  if (parts.length === 1) return parts[0];
  const all: Encoded = plain([], 0);
  for (const part of parts) {
    for (const [i, name] of part.names) all.names.set(all.ids.length + i, name);
    for (const [i, id] of part.ids.entries()) {
      all.ids.push(id);
      all.types.push(part.types[i]);
      all.special.push(part.special[i]);
    }
  }
  return all;
}

export interface PostProcessor {
  /** How many tokens it adds. */
  added(isPair: boolean): number;
  /** One text, or two. */
  process(texts: readonly Encoded[], addSpecial: boolean): readonly Encoded[];
}

type Maker = (fields: Fields) => PostProcessor;

const makers = {
  BertProcessing: (fields) => around(fields, (_, i) => i, false),
  ByteLevel: () => ({ added: () => 0, process: (texts) => texts }),
  RobertaProcessing: (fields) => around(fields, () => 0, true),
  Sequence: (fields) => {
    const steps = fields.items('processors').map(makePostProcessor);
    return {
      added: (isPair) => steps.reduce((n, step) => n + step.added(isPair), 0),
      process: (texts, addSpecial) => steps.reduce((t, step) => step.process(t, addSpecial), texts),
    };
  },
  TemplateProcessing: template,
} satisfies Record<string, Maker>;

const types = Object.keys(makers) as readonly (keyof typeof makers)[];

export function makePostProcessor(fields: Fields): PostProcessor {
  const make: Maker = makers[fields.type('post-processor', types)];
  return make(fields);
}

const specials = (ids: readonly number[], type: number): Encoded => ({ ...plain([...ids], type), special: ids.map(() => 1) }); // biome-ignore format: one expression

const typed = (text: Encoded, type: number): Encoded => ({ ...text, types: text.types.map(() => type) });

/** A [CLS] before all and a [SEP] behind each text; RoBERTa has one more between two texts, and knows no segments. */
function around(fields: Fields, typeOf: (text: Encoded, i: number) => number, isRoberta: boolean): PostProcessor {
  const id = (name: string): number => {
    const pair = fields.list(name);
    return fields.id(`${name}[1]`, pair[1]);
  };
  const [sep, cls] = [id('sep'), id('cls')];
  return {
    added: (isPair) => (isPair ? (isRoberta ? 4 : 3) : 2),
    process: (texts, addSpecial) => {
      if (!addSpecial) return isRoberta ? texts.map((text) => typed(text, 0)) : texts;
      return texts.map((text, i) => {
        const type = typeOf(text, i);
        const before = i === 0 ? [cls] : isRoberta ? [sep] : [];
        return joined([specials(before, type), typed(text, type), specials([sep], type)]);
      });
    },
  };
}

type Piece = { readonly sequence: 0 | 1; readonly type: number } | { readonly ids: readonly number[]; readonly type: number }; // biome-ignore format: one expression

function template(fields: Fields): PostProcessor {
  const tokens = fields.has('special_tokens') ? fields.within('special_tokens') : undefined;
  const idsOf = (name: string): readonly number[] => {
    if (!tokens?.has(name)) return fields.fail('special_tokens', `an object that has ${JSON.stringify(name)}`);
    const token = tokens.within(name);
    return token.list('ids').map((id, i) => token.id(`ids[${i}]`, id));
  };
  const read = (name: string): readonly Piece[] =>
    fields.items(name).map((item): Piece => {
      if (item.has('SpecialToken')) {
        const part = item.within('SpecialToken');
        return { ids: idsOf(part.string('id')), type: part.integer('type_id') };
      }
      const part = item.within('Sequence');
      return { sequence: part.oneOf('id', ['A', 'B']) === 'A' ? 0 : 1, type: part.integer('type_id') };
    });
  const single = read('single');
  const pair = read('pair');
  return {
    added: (isPair) => (isPair ? pair : single).reduce((n, piece) => n + ('ids' in piece ? piece.ids.length : 0), 0),
    process: (texts, addSpecial) =>
      (texts.length > 1 ? pair : single).flatMap((piece) => {
        if ('ids' in piece) return addSpecial ? [specials(piece.ids, piece.type)] : [];
        return texts[piece.sequence] === undefined ? [] : [typed(texts[piece.sequence], piece.type)];
      }),
  };
}
