// Tokens that are added to a model's: they are found in the text before all else, and never split.
import { isSpace, wordClass } from './characters.ts';
import type { Fields } from './fields.ts';
import type { Normalizer } from './normalizers.ts';
import type { Vocabulary } from './vocabulary.ts';

export interface AddedToken {
  readonly content: string;
  /** No part of a longer word. */
  readonly single_word: boolean;
  /** With the spaces before it, and behind it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Found in the normalized text. */
  readonly normalized: boolean;
  /** Left out by `skip_special_tokens`. */
  readonly special: boolean;
}

/** How long a token may be. */
const longest = 512;

export function addedToken(fields: Fields, special = false): AddedToken {
  const isSpecial = fields.boolean('special', special);
  const length = fields.string('content').length;
  // Every place of a text is compared with all of a token.
  if (length > longest) fields.unsupported(`an added token of ${length} characters`);
  return {
    content: fields.string('content'),
    single_word: fields.boolean('single_word', false),
    lstrip: fields.boolean('lstrip', false),
    rstrip: fields.boolean('rstrip', false),
    normalized: fields.boolean('normalized', !isSpecial),
    special: isSpecial,
  };
}

/** A part of a text: of a token, if `id` is given. */
interface Part {
  readonly begin: number;
  readonly end: number;
  readonly id?: number;
}

/** A trie of UTF-16 units. */
interface Node {
  readonly next: Map<number, Node>;
  token?: { readonly id: number; readonly added: AddedToken };
}

const endsWithWord = new RegExp(`[${wordClass}]$`, 'u');
const startsWithWord = new RegExp(`^[${wordClass}]`, 'u');

export class AddedTokens {
  private readonly ids = new Map<string, number>();
  private readonly tokens = new Map<number, AddedToken>();
  /** Contents that were added as special once. */
  private readonly special = new Set<string>();
  private tries: { readonly raw: Node; readonly normalized: Node } | undefined;

  constructor(
    private readonly vocabulary: Vocabulary,
    private readonly normalizer: Normalizer | undefined,
  ) {}

  /** Adds a token: one that is known keeps its id and takes the new properties, another gets the next id. */
  add(token: AddedToken): void {
    if (token.content === '') return;
    if (token.special) this.special.add(token.content);
    const id = this.idOf(token.content) ?? this.vocabulary.idOf(token.content) ?? this.nextId();
    this.ids.set(token.content, id);
    this.tokens.set(id, token);
    this.tries = undefined;
  }

  private nextId(): number {
    const { size } = this.vocabulary;
    let last = -1;
    for (const id of this.ids.values()) last = Math.max(last, id);
    return last >= size || (size === 0 && last >= 0) ? last + 1 : size;
  }

  idOf(content: string): number | undefined {
    return this.ids.get(content);
  }
  /** What stands for the id in texts: of a token that is found in normalized text, its normalized content. */
  textOf(id: number): string | undefined {
    const token = this.tokens.get(id);
    return token && this.found(token);
  }
  private found({ content, normalized }: AddedToken): string {
    return normalized ? (this.normalizer?.(content) ?? content) : content;
  }
  isSpecial(content: string): boolean {
    return this.special.has(content);
  }
  /** By id. */
  entries(): [number, AddedToken][] {
    return [...this.tokens].sort(([a], [b]) => a - b);
  }

  /** The parts of a text that are tokens as they stand, and what is between them. */
  split(text: string): readonly Part[] {
    return partsOf(text, this.trie().raw);
  }
  /** Those of a text that was normalized. */
  splitNormalized(text: string): readonly Part[] {
    return partsOf(text, this.trie().normalized);
  }

  private trie(): { readonly raw: Node; readonly normalized: Node } {
    if (this.tries) return this.tries;
    const raw: Node = { next: new Map() };
    const normalized: Node = { next: new Map() };
    for (const [id, added] of this.entries()) {
      insert(added.normalized ? normalized : raw, this.found(added), { id, added });
    }
    this.tries = { raw, normalized };
    return this.tries;
  }
}

function insert(root: Node, content: string, token: Node['token']): void {
  if (content === '') return;
  let node = root;
  for (let i = 0; i < content.length; i++) {
    const unit = content.charCodeAt(i);
    let child = node.next.get(unit);
    if (!child) {
      child = { next: new Map() };
      node.next.set(unit, child);
    }
    node = child;
  }
  node.token ??= token;
}

/** The longest token at each place, from left to right. */
function partsOf(text: string, root: Node): readonly Part[] {
  if (root.next.size === 0) return [{ begin: 0, end: text.length }];
  const parts: Part[] = [];
  let end = 0;
  for (let i = 0; i < text.length; ) {
    const found = longestAt(text, i, root);
    if (!found) {
      i++;
      continue;
    }
    const { added, id } = found.token;
    let begin = i;
    i = found.end;
    const isPartOfWord = added.single_word && (endsWithWord.test(text.slice(Math.max(0, begin - 2), begin)) || startsWithWord.test(text.slice(i, i + 2))); // biome-ignore format: one expression
    if (isPartOfWord) continue;
    let stop = i;
    if (added.lstrip) while (begin > end && isSpace(text.charCodeAt(begin - 1))) begin--;
    if (added.rstrip) while (stop < text.length && isSpace(text.charCodeAt(stop))) stop++;
    if (end < begin) parts.push({ begin: end, end: begin });
    parts.push({ begin, end: stop, id });
    end = stop;
  }
  if (end < text.length) parts.push({ begin: end, end: text.length });
  return parts;
}

function longestAt(
  text: string,
  at: number,
  root: Node,
): { token: NonNullable<Node['token']>; end: number } | undefined {
  let found: { token: NonNullable<Node['token']>; end: number } | undefined;
  let node = root.next.get(text.charCodeAt(at));
  for (let i = at + 1; node; i++) {
    if (node.token) found = { token: node.token, end: i };
    node = i < text.length ? node.next.get(text.charCodeAt(i)) : undefined;
  }
  return found;
}
