// The fields of a config.json, every value checked: a config comes from anywhere.
import { ModelcError } from '../../ir/error.ts';
import { type ActivationName, activationNames, isActivation } from '../dsl/index.ts';
import { isObject, type JsonObject } from './json.ts';

/** What the numbers of a config are compared with before anything of their size is made. */
export interface Bounds {
  /** The longest axis of a tensor. */
  readonly size: number;
  /** How many tensors there are. */
  readonly parts: number;
  /** Whose they are, for messages. */
  readonly holder: string;
}

/** Of models without weights. */
const newBounds: Bounds = { size: 2 ** 22, parts: 2 ** 14, holder: 'a new model' };
/** Positions and token ids are 32-bit integers in compiled code. */
const largest = 2 ** 31 - 1;
const isToken = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0 && (v as number) <= largest;

/** A value as JSON; configs that come from programs may hold what JSON cannot. */
function textOf(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return String(value);
  }
}

/** What is known of a checkpoint when its config is read. */
export interface Beside {
  readonly bounds?: Bounds;
  /** Whether the weights hold an output layer of their own, whatever the config says of tying. */
  readonly untied?: boolean;
  /** Takes what the user should know: a warning. */
  note?(text: string): void;
}

/** Typed access to the fields of a JSON object. A field that is null counts as absent, as in Python. */
export class Fields {
  constructor(
    readonly json: JsonObject,
    /** File and place, for messages. */
    readonly where: string,
    readonly beside: Beside = {},
    /** The names that the file has for fields that are asked for under others. */
    private readonly written: Readonly<Record<string, string>> = {},
  ) {}

  /** The same fields, with values for those that are absent; null stays null. */
  withDefaults(defaults: JsonObject): Fields {
    return new Fields({ ...defaults, ...this.json }, this.where, this.beside, this.written);
  }

  /** The same fields; those under other names (the keys of `names`) count in place of the ones that they stand for. */
  withOtherNames(names: Readonly<Record<string, string>>): Fields {
    const used = Object.entries(names).filter(([other]) => this.has(other));
    if (used.length === 0) return this;
    const values = Object.fromEntries(used.map(([other, name]) => [name, this.json[other]]));
    const written = Object.fromEntries(used.map(([other, name]) => [name, other]));
    return new Fields({ ...this.json, ...values }, this.where, this.beside, written);
  }

  #shown(name: string): string {
    return Object.hasOwn(this.written, name) ? this.written[name] : name;
  }

  /** What `work` makes of the fields. Layers that do not fit together say so by their own names: here the file is named. */
  made<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      if (!(cause instanceof ModelcError) || (cause.code !== 'type' && cause.code !== 'input')) throw cause;
      throw new ModelcError('checkpoint', `${this.where} describes layers that do not fit together: ${cause.message}`, {
        cause,
      });
    }
  }

  fail(name: string, expected: string): never {
    const found = textOf(this.json[name]) ?? 'nothing';
    const shown = found.length > 80 ? `${found.slice(0, 80)}…` : found;
    throw new ModelcError('checkpoint', `${this.where}: ${this.#shown(name)} must be ${expected}, found ${shown}`);
  }

  #value<T>(name: string, fallback: T | undefined, is: (v: unknown) => v is T, expected: string): T {
    const value = (Object.hasOwn(this.json, name) ? this.json[name] : undefined) ?? fallback;
    return is(value) ? value : this.fail(name, expected);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.json, name) && this.json[name] !== null;
  }
  /** A number that nothing is made of: a position, a window, a choice. */
  count(name: string, fallback?: number): number {
    const is = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) > 0;
    return this.#upTo(largest, name, this.#value(name, fallback, is, 'a positive integer'));
  }
  /** What tables of the length `limit` or more are made of. */
  upTo(limit: number, name: string, fallback?: number): number {
    return this.#upTo(limit, name, this.count(name, fallback));
  }
  #upTo(limit: number, name: string, value: number): number {
    return value <= limit ? value : this.fail(name, `at most ${limit}`);
  }
  /** The length of an axis of a weight, or a divisor of it. */
  size(name: string, fallback?: number): number {
    const value = this.count(name, fallback);
    const { size, holder } = this.beside.bounds ?? newBounds;
    return value <= size ? value : this.#excessive(name, value, `${holder} has no axis longer than ${size}`);
  }
  /** How many layers, or other parts with weights of their own, there are. */
  parts(name: string, fallback?: number): number {
    const value = this.count(name, fallback);
    const { parts, holder } = this.beside.bounds ?? newBounds;
    return value <= parts ? value : this.#excessive(name, value, `${holder} has at most ${parts} tensors`);
  }
  #excessive(name: string, value: number, truth: string): never {
    throw new ModelcError(
      'checkpoint',
      `${this.where}: ${this.#shown(name)} is ${value}, but ${truth}; they do not belong together`,
    );
  }
  /** Whether the output layer is the table of embeddings. */
  isTied(fallback: boolean): boolean {
    return this.flag('tie_word_embeddings', fallback) && !this.beside.untied;
  }
  /** A positive integer; 0 for null. */
  countOrNone(name: string): number {
    return this.has(name) ? this.count(name) : 0;
  }
  number(name: string, fallback?: number): number {
    const is = (v: unknown): v is number => typeof v === 'number' && Number.isFinite(v);
    return this.#value(name, fallback, is, 'a number');
  }
  positive(name: string, fallback?: number): number {
    const is = (v: unknown): v is number => typeof v === 'number' && Number.isFinite(v) && v > 0;
    return this.#value(name, fallback, is, 'a positive number');
  }
  /** A rate of dropout. */
  rate(name: string, fallback: number): number {
    const is = (v: unknown): v is number => typeof v === 'number' && v >= 0 && v < 1;
    return this.#value(name, fallback, is, 'a number of 0 or more and less than 1');
  }
  flag(name: string, fallback: boolean): boolean {
    return this.#value(name, fallback, (v) => typeof v === 'boolean', 'true or false');
  }
  text(name: string, fallback?: string): string {
    return this.#value(name, fallback, (v) => typeof v === 'string', 'a string');
  }
  activation(name: string, fallback: ActivationName): ActivationName {
    const is = (v: unknown): v is ActivationName => typeof v === 'string' && isActivation(v);
    return this.#value(name, fallback, is, `one of ${activationNames.join(', ')}`);
  }
  numbers(name: string, length: number): readonly number[] {
    const is = (v: unknown): v is number[] =>
      Array.isArray(v) && v.length === length && v.every((x) => typeof x === 'number' && Number.isFinite(x) && x > 0);
    return this.#value(name, undefined, is, `a list of ${length} positive numbers`);
  }
  object(name: string): Fields | undefined {
    if (!this.has(name)) return undefined;
    const value = this.json[name];
    return isObject(value) ? new Fields(value, `${this.where}: ${name}`, this.beside) : this.fail(name, 'an object');
  }
  /** A token id, or undefined; -1 says that there is none, as LLaMA's first configs have it. */
  token(name: string): number | undefined {
    if (!this.has(name) || this.json[name] === -1) return undefined;
    return this.#value(name, undefined, isToken, 'a token id');
  }
  /** A token id, a list of them, or undefined. */
  tokens(name: string): number | readonly number[] | undefined {
    const value = this.json[name];
    if (!Array.isArray(value)) return this.token(name);
    return value.every(isToken) ? value : this.fail(name, 'a token id or a list of them');
  }
}
