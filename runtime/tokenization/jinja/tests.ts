// Jinja's tests: what may stand after `is`.
import { bind } from './arguments.ts';
import { TemplateError } from './ast.ts';
import type { Tools } from './filter.ts';
import { filters } from './filters.ts';
import { holds, numeric, operate } from './operations.ts';
import {
  Callable,
  Dict,
  Fields,
  type Given,
  isList,
  Markup,
  Range,
  Stream,
  Tuple,
  text,
  Undefined,
  type Value,
  View,
} from './values.ts';

type Test = (value: Value, given: Given, tools: Tools) => boolean;

const plain = (name: string, test: (value: Value) => boolean): readonly [string, Test] => [
  name,
  (value, given) => {
    bind(name, given, []);
    return test(value);
  },
];

/** A test that is an operator with a name. */
const comparing = (operator: string, ...names: string[]): (readonly [string, Test])[] =>
  [operator, ...names].map((name) => [
    name,
    (value, given, { budget }) => holds(operator, value, bind(name, given, ['other'], 1)[0] ?? null, budget),
  ]);

function divisible(value: Value, by: Value, { budget }: Tools): boolean {
  const rest = numeric(operate('%', value, by, budget));
  return rest === 0n || rest === 0;
}

const isText = (value: Value): boolean => typeof value === 'string' || value instanceof Markup;
/** What has both a length and an index. */
const isSequence = (value: Value): boolean =>
  isText(value) ||
  value instanceof Tuple ||
  value instanceof Dict ||
  value instanceof Range ||
  value instanceof Undefined ||
  (value !== null && typeof value === 'object' && isList(value));

function isSame(a: Value, b: Value): boolean {
  return a === b;
}

const cased = (value: Value, { budget }: Tools, change: (s: string) => string): boolean => {
  const whole = text(value, budget);
  budget.room(whole.length);
  return whole.toLowerCase() !== whole.toUpperCase() && whole === change(whole);
};

export const tests: ReadonlyMap<string, Test> = new Map<string, Test>([
  plain('defined', (value) => !(value instanceof Undefined)),
  plain('undefined', (value) => value instanceof Undefined),
  plain('none', (value) => value === null),
  plain('boolean', (value) => typeof value === 'boolean'),
  plain('true', (value) => value === true),
  plain('false', (value) => value === false),
  plain('integer', (value) => typeof value === 'bigint'),
  plain('float', (value) => typeof value === 'number'),
  plain('number', (value) => numeric(value) !== undefined),
  plain('string', isText),
  plain('mapping', (value) => value instanceof Dict),
  plain('sequence', isSequence),
  plain('iterable', (value) => isSequence(value) || value instanceof View || value instanceof Stream),
  plain(
    'callable',
    (value) =>
      value instanceof Undefined || value instanceof Callable || (value instanceof Fields && value.call !== undefined),
  ),
  plain('escaped', (value) => value instanceof Markup),
  ['odd', (value, _, tools) => Number(numeric(operate('%', value, 2n, tools.budget))) === 1],
  ['even', (value, _, tools) => divisible(value, 2n, tools)],
  ['divisibleby', (value, given, tools) => divisible(value, bind('divisibleby', given, ['num'], 1)[0] ?? null, tools)],
  ['lower', (value, _, tools) => cased(value, tools, (s) => s.toLowerCase())],
  ['upper', (value, _, tools) => cased(value, tools, (s) => s.toUpperCase())],
  ['sameas', (value, given) => isSame(value, bind('sameas', given, ['other'], 1)[0] ?? null)],
  ['in', (value, given, { budget }) => holds('in', value, bind('in', given, ['seq'], 1)[0] ?? null, budget)],
  plain('filter', (value) => typeof value === 'string' && filters.has(value)),
  plain('test', (value) => typeof value === 'string' && tests.has(value)),
  ...comparing('==', 'eq', 'equalto'),
  ...comparing('!=', 'ne'),
  ...comparing('>', 'gt', 'greaterthan'),
  ...comparing('>=', 'ge'),
  ...comparing('<', 'lt', 'lessthan'),
  ...comparing('<=', 'le'),
]);

export function testOf(name: string): Test {
  const test = tests.get(name);
  if (!test) throw new TemplateError(`No test named '${name}'.`, 'syntax');
  return test;
}
