// The fields of a config.json, every value checked: a config comes from anywhere.
import { type ActivationName, activationNames, isActivation } from '../dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { isObject, type JsonObject } from './json.ts';

/** Typed access to the fields of a JSON object. A field that is null counts as absent, as in Python. */
export class Fields {
  constructor(
    readonly json: JsonObject,
    /** File and place, for messages. */
    readonly where: string,
  ) {}

  /** The same fields, with values for those that are absent; null stays null. */
  withDefaults(defaults: JsonObject): Fields {
    return new Fields({ ...defaults, ...this.json }, this.where);
  }

  fail(name: string, expected: string): never {
    const found = JSON.stringify(this.json[name]) ?? 'nothing';
    const shown = found.length > 80 ? `${found.slice(0, 80)}…` : found;
    throw new ModelcError('checkpoint', `${this.where}: ${name} must be ${expected}, found ${shown}`);
  }

  #value<T>(name: string, fallback: T | undefined, is: (v: unknown) => v is T, expected: string): T {
    const value = (Object.hasOwn(this.json, name) ? this.json[name] : undefined) ?? fallback;
    return is(value) ? value : this.fail(name, expected);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.json, name) && this.json[name] !== null;
  }
  count(name: string, fallback?: number): number {
    const is = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) > 0;
    return this.#value(name, fallback, is, 'a positive integer');
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
    return isObject(value) ? new Fields(value, `${this.where}: ${name}`) : this.fail(name, 'an object');
  }
  /** A token id, or undefined. */
  token(name: string): number | undefined {
    const is = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0;
    return this.has(name) ? this.#value(name, undefined, is, 'a token id') : undefined;
  }
  /** A token id, a list of them, or undefined. */
  tokens(name: string): number | readonly number[] | undefined {
    const value = this.json[name];
    if (!Array.isArray(value)) return this.token(name);
    const ok = value.length > 0 && value.every((v) => Number.isSafeInteger(v) && v >= 0);
    return ok ? (value as number[]) : this.fail(name, 'a token id or a list of them');
  }
}
