// The tokens of a model, and their ids.
import type { Fields } from './fields.ts';

export class Vocabulary {
  private readonly ids: Map<string, number>;
  private readonly tokens = new Map<number, string>();

  constructor(ids: Map<string, number>) {
    this.ids = ids;
    for (const [token, id] of ids) this.tokens.set(id, token);
  }

  /** The vocabulary of a field `vocab` that is an object of ids. */
  static of(fields: Fields): Vocabulary {
    const vocab = fields.object('vocab');
    const ids = new Map<string, number>();
    for (const token of Object.keys(vocab)) {
      const id = vocab[token];
      const isId = typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < 2 ** 24;
      ids.set(token, isId ? id : fields.id(`vocab.${token.slice(0, 40)}`, id));
    }
    return new Vocabulary(ids);
  }

  idOf(token: string): number | undefined {
    return this.ids.get(token);
  }
  tokenOf(id: number): string | undefined {
    return this.tokens.get(id);
  }
  get size(): number {
    return this.ids.size;
  }
  entries(): IterableIterator<[string, number]> {
    return this.ids.entries();
  }
}
