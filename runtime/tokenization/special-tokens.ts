// The special tokens of a tokenizer as properties, as in Python: `tokenizer.pad_token = tokenizer.eos_token`, and the same by
// id: `tokenizer.pad_token_id = 0`.
import { ModelcError } from '../../ir/error.ts';
import type { Engine } from './backend/engine.ts';
import { shown } from './backend/fields.ts';
import { type Role, roles } from './tokenizer-classes.ts';
import type { TokenizerSetup } from './tokenizer-setup.ts';

/** The properties: null where the tokenizer has no token of the role. */
type SpecialTokenFields = Record<Role, string | null> & Record<`${Role}_id`, number | null>;

export interface SpecialTokens extends SpecialTokenFields {}

// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the properties are defined below, one as the other
export class SpecialTokens {
  /** What runs tokenizer.json. */
  protected readonly engine: Engine;
  /** Tokens by role. */
  protected readonly specials: Map<string, string>;
  private readonly extra: readonly string[];

  constructor(
    setup: TokenizerSetup,
    /** For messages. */
    protected readonly where: string,
  ) {
    this.engine = setup.engine;
    this.specials = setup.specials;
    this.extra = setup.extra;
  }

  /** Special tokens that the files name, by role. */
  get special_tokens_map(): Readonly<Record<string, string>> {
    const own = [...this.specials].filter(([name]) => !roles.includes(name as Role));
    const named = roles.flatMap((role) => {
      const token = this.specials.get(role);
      return token === undefined ? [] : [[role, token] as const];
    });
    return Object.fromEntries([...named, ...own]);
  }
  /** Special tokens that have no role. */
  get extra_special_tokens(): string[] {
    return [...this.extra];
  }
  /** All special tokens, each once: those of a role first. */
  get all_special_tokens(): string[] {
    return [...new Set([...Object.values(this.special_tokens_map), ...this.extra])];
  }
  /** The ids of all_special_tokens. */
  get all_special_ids(): number[] {
    return this.all_special_tokens.flatMap((token) => this.idOf(token) ?? []);
  }

  /** Makes `token` the padding token, as `tokenizer.pad_token = token` does. */
  set_pad_token(token: string | null): void {
    if (token === null) throw new ModelcError('input', 'the pad_token must be a text, but is null');
    this.setToken('pad_token', token);
  }

  /** The id of a token; null if there is none. */
  protected idOf(token: string | null): number | null {
    return token === null ? null : (this.engine.idOf(token) ?? null);
  }

  /** Gives a role to a token; null: to none. */
  protected setToken(role: Role, token: unknown): void {
    if (token === null || token === undefined) {
      this.specials.delete(role);
      return;
    }
    if (typeof token !== 'string' || this.engine.idOf(token) === undefined) {
      throw new ModelcError('input', `${shown(token)} is not a token of ${this.where}, so it cannot be the ${role}`);
    }
    this.specials.set(role, token);
  }

  /** Gives a role to the token of an id. */
  protected setTokenId(role: Role, id: unknown): void {
    if (id === null || id === undefined) {
      this.specials.delete(role);
      return;
    }
    const token = typeof id === 'number' || typeof id === 'bigint' ? this.engine.tokenOf(Number(id)) : undefined;
    if (token === undefined) {
      throw new ModelcError('input', `${String(id)} is not the id of a token of ${this.where}, so it cannot be the ${role}_id`); // biome-ignore format: one expression
    }
    this.specials.set(role, token);
  }

  static {
    for (const role of roles) {
      Object.defineProperty(SpecialTokens.prototype, role, {
        get(this: SpecialTokens) {
          return this.specials.get(role) ?? null;
        },
        set(this: SpecialTokens, token: unknown) {
          this.setToken(role, token);
        },
      });
      Object.defineProperty(SpecialTokens.prototype, `${role}_id`, {
        get(this: SpecialTokens) {
          return this.idOf(this.specials.get(role) ?? null);
        },
        set(this: SpecialTokens, id: unknown) {
          this.setTokenId(role, id);
        },
      });
    }
  }
}
