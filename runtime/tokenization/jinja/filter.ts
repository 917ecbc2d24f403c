// What a filter of Jinja is.
import type { Budget } from './budget.ts';
import type { Given, Value } from './values.ts';

/** What filters and tests need of the interpreter. */
export interface Tools {
  readonly budget: Budget;
  filter(name: string, value: Value, given: Given): Value;
  test(name: string, value: Value, given: Given): boolean;
  /** obj.name and obj[key], under the rules of the sandbox. */
  attribute(object: Value, name: string): Value;
  item(object: Value, key: Value): Value;
}

export type Filter = (value: Value, given: Given, tools: Tools) => Value;
