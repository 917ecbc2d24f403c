// Reads the fields of a tokenizer file, which comes from anywhere: each is of the kind that its reader says, or the error
// names the file, the field and what it holds.
import { ModelcError } from '../../../ir/error.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value as a message shows it. */
export function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (isObject(value)) return 'an object';
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** How deep parts may stand in parts. */
const depthLimit = 32;
const idLimit = 2 ** 24;

/** An object of a tokenizer file with its path. Every reader throws ModelcError 'parse' for a value of another kind. */
export class Fields {
  constructor(
    readonly value: JsonObject,
    /** The file's path, for messages. */
    readonly file: string,
    readonly path = '',
    readonly depth = 0,
  ) {
    if (depth > depthLimit) {
      throw new ModelcError('unsupported', `${file} has parts in parts at ${path}, deeper than ${depthLimit}`);
    }
  }

  private at(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`;
  }

  private get(name: string): unknown {
    return Object.hasOwn(this.value, name) ? this.value[name] : undefined;
  }

  fail(name: string, wanted: string, value = this.get(name)): never {
    throw new ModelcError(
      'parse',
      `${this.file} is malformed: ${this.at(name)} is ${shown(value)}, but must be ${wanted}; download it again`,
    );
  }

  /** Whether the field is there and is not null. */
  has(name: string): boolean {
    return (this.get(name) ?? null) !== null;
  }

  string(name: string, otherwise?: string): string {
    const value = this.get(name) ?? otherwise;
    return typeof value === 'string' ? value : this.fail(name, 'a text');
  }

  optionalString(name: string): string | undefined {
    return this.has(name) ? this.string(name) : undefined;
  }

  boolean(name: string, otherwise?: boolean): boolean {
    const value = this.get(name) ?? otherwise;
    return typeof value === 'boolean' ? value : this.fail(name, 'true or false');
  }

  integer(name: string, otherwise?: number, least = 0): number {
    const value = this.get(name) ?? otherwise;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least) return value;
    return this.fail(name, `an integer of at least ${least}`);
  }

  /** One character. */
  character(name: string, otherwise?: string): string {
    const value = this.string(name, otherwise);
    return [...value].length === 1 ? value : this.fail(name, 'one character');
  }

  oneOf<T extends string>(name: string, values: readonly T[], otherwise?: T): T {
    const value = this.get(name) ?? otherwise;
    return values.find((known) => known === value) ?? this.fail(name, `one of ${values.join(', ')}`);
  }

  list(name: string, otherwise?: readonly unknown[]): readonly unknown[] {
    const value = this.get(name) ?? otherwise;
    return Array.isArray(value) ? value : this.fail(name, 'a list');
  }

  object(name: string): JsonObject {
    const value = this.get(name);
    return isObject(value) ? value : this.fail(name, 'an object');
  }

  /** The fields of a field. */
  within(name: string): Fields {
    return new Fields(this.object(name), this.file, this.at(name), this.depth + 1);
  }

  /** The fields of the objects of a list. */
  items(name: string, otherwise?: readonly unknown[]): Fields[] {
    return this.list(name, otherwise).map((value, i) => {
      const item = `${name}[${i}]`;
      return new Fields(isObject(value) ? value : this.fail(item, 'an object', value), this.file, this.at(item), this.depth + 1); // biome-ignore format: one expression
    });
  }

  /** A value of the field as the id of a token. */
  id(name: string, value = this.get(name)): number {
    const isId = typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < idLimit;
    return isId ? value : this.fail(name, `an id of a token, an integer from 0 to ${idLimit - 1}`, value);
  }

  /** For a valid part that modelc lacks. */
  unsupported(what: string): never {
    throw new ModelcError('unsupported', `${this.file} uses ${what}, which is not supported`);
  }

  /** The part's type; `kind` names the part in the message for a type that is none of `known`. */
  type<T extends string>(kind: string, known: readonly T[]): T {
    const type = this.string('type');
    return known.find((name) => name === type) ?? this.unsupported(`the ${kind} ${shown(type)}`);
  }
}
