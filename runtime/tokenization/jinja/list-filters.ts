// Jinja's filters of lists: what picks, orders and joins items.
import { bind, intArgument } from './arguments.ts';
import { TemplateError } from './ast.ts';
import type { Filter, Tools } from './filter.ts';
import { compare, equal, operate } from './operations.ts';
import {
  characters,
  hashOf,
  iterate,
  Markup,
  orElse,
  Stream,
  Tuple,
  text,
  truth,
  Undefined,
  type Value,
} from './values.ts';

type Key = (item: Value) => Value;

/** What an `attribute` argument picks: 'a.b' and 'a.0' go deeper, 3 is an index. */
function picker(attribute: Value | undefined, tools: Tools, otherwise?: Value): Key {
  if (attribute === undefined || attribute === null) return (item) => item;
  const parts: Value[] =
    typeof attribute === 'string'
      ? attribute.split('.').map((part) => (/^\d+$/.test(part) ? BigInt(part) : part))
      : [attribute];
  return (item) => {
    let value = item;
    for (const part of parts) {
      value = tools.item(value, part);
      if (value instanceof Undefined && otherwise !== undefined) value = otherwise;
    }
    return value;
  };
}

const folded = (value: Value): Value => (typeof value === 'string' ? value.toLowerCase() : value);

/** The key by which items are compared: an attribute, without case unless it counts. */
function keyOf(attribute: Value | undefined, caseSensitive: Value | undefined, tools: Tools): Key {
  const pick = picker(attribute, tools);
  return truth(caseSensitive ?? false) ? pick : (item) => folded(pick(item));
}

function sorted(items: readonly Value[], key: Key, reverse: boolean, tools: Tools): Value[] {
  const keyed = items.map((item) => ({ item, key: key(item) }));
  keyed.sort((a, b) => (reverse ? -1 : 1) * (compare('<', a.key, b.key, tools.budget) ?? 0));
  return keyed.map(({ item }) => item);
}

const sort: Filter = (value, given, tools) => {
  const [reverse, caseSensitive, attribute] = bind('sort', given, ['reverse', 'case_sensitive', 'attribute']);
  const list = iterate(value, tools.budget);
  const names: (Value | undefined)[] = typeof attribute === 'string' ? attribute.split(',') : [attribute];
  const keys = names.map((name) => keyOf(name, caseSensitive, tools));
  const key: Key = (item) => keys.map((each) => each(item));
  return sorted(list, key, truth(reverse ?? false), tools);
};

const unique: Filter = (value, given, tools) => {
  const [caseSensitive, attribute] = bind('unique', given, ['case_sensitive', 'attribute']);
  const key = keyOf(attribute, caseSensitive, tools);
  const seen = new Set<unknown>();
  return new Stream(
    iterate(value, tools.budget).filter((item) => {
      const hash = hashOf(key(item));
      return !seen.has(hash) && seen.add(hash) !== undefined;
    }),
  );
};

function extreme(name: 'min' | 'max'): Filter {
  return (value, given, tools) => {
    const [caseSensitive, attribute] = bind(name, given, ['case_sensitive', 'attribute']);
    const list = iterate(value, tools.budget);
    if (list.length === 0) return new Undefined('', 'No aggregated item, sequence was empty.');
    const key = keyOf(attribute, caseSensitive, tools);
    return list.reduce((best, item) => {
      const order = compare(name === 'min' ? '<' : '>', key(item), key(best), tools.budget) ?? 0;
      return (name === 'min' ? order < 0 : order > 0) ? item : best;
    });
  };
}

const groupby: Filter = (value, given, tools) => {
  const [attribute, otherwise, caseSensitive] = bind('groupby', given, ['attribute', 'default', 'case_sensitive'], 1);
  const pick = picker(attribute, tools, otherwise);
  const exact = truth(caseSensitive ?? false);
  const key: Key = exact ? pick : (item) => folded(pick(item));
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sorted(iterate(value, tools.budget), key, false, tools)) {
    const last = groups.at(-1);
    if (last && equal(last.key, key(item), tools.budget)) last.items.push(item);
    else groups.push({ key: key(item), items: [item] });
  }
  return groups.map(({ items }) => new Group(pick(items[0]), items));
};

/** A group of groupby: a tuple whose parts have names, too. */
export class Group extends Tuple {
  constructor(grouper: Value, list: readonly Value[]) {
    super([grouper, list]);
  }
}

const map: Filter = (value, given, tools) => {
  if (value === null) return new Stream([]);
  const list = iterate(value, tools.budget);
  const { args, kwargs } = given;
  if (args.length === 0 && kwargs.has('attribute')) {
    const [attribute, otherwise] = bind('map', given, ['attribute', 'default']);
    return new Stream(list.map(picker(attribute, tools, otherwise)));
  }
  const [name, ...rest] = args;
  if (name === 'identity') return new Stream(list);
  if (typeof name !== 'string') throw new TemplateError('map requires a filter argument');
  return new Stream(list.map((item) => tools.filter(name, item, { args: rest, kwargs })));
};

/** select, reject, selectattr and rejectattr. */
function selecting(name: string, wanted: boolean, ofAttribute: boolean): Filter {
  return (value, { args, kwargs }, tools) => {
    const attribute = ofAttribute ? args[0] : undefined;
    const rest = ofAttribute ? args.slice(1) : args;
    if (ofAttribute && attribute === undefined) throw new TemplateError(`${name} needs the name of an attribute`);
    const pick = picker(attribute, tools);
    const [test, ...more] = rest;
    const holds = (item: Value): boolean => {
      if (test === undefined) return truth(item);
      if (typeof test !== 'string') throw new TemplateError(`${name} needs the name of a test`);
      return tools.test(test, item, { args: more, kwargs });
    };
    if (value === null) return new Stream([]);
    return new Stream(iterate(value, tools.budget).filter((item) => holds(pick(item)) === wanted));
  };
}

const first: Filter = (value, given, { budget }) => {
  bind('first', given, []);
  return orElse(iterate(value, budget)[0], new Undefined('', 'No first item, sequence was empty.'));
};
const last: Filter = (value, given, { budget }) => {
  bind('last', given, []);
  if (value instanceof Stream) throw new TemplateError("'generator' object is not reversible");
  return orElse(iterate(value, budget).at(-1), new Undefined('', 'No last item, sequence was empty.'));
};

const join: Filter = (value, given, tools) => {
  const [between, attribute] = bind('join', given, ['d', 'attribute']);
  const list = iterate(value, tools.budget).map(picker(attribute, tools));
  return tools.budget.join(
    list.map((item) => text(item, tools.budget)),
    text(orElse(between, ''), tools.budget),
  );
};

const reverse: Filter = (value, given, { budget }) => {
  bind('reverse', given, []);
  if (typeof value === 'string') return budget.made(characters(value).reverse().join(''));
  if (value instanceof Markup) throw new TemplateError('reverse of text that is marked as safe is not served');
  return new Stream([...iterate(value, budget)].reverse());
};

const sum: Filter = (value, given, tools) => {
  const [attribute, start] = bind('sum', given, ['attribute', 'start']);
  const list = iterate(value, tools.budget).map(picker(attribute, tools));
  if (typeof start === 'string') throw new TemplateError("sum() can't sum strings [use ''.join(seq) instead]");
  return list.reduce((total, item) => operate('+', total, item, tools.budget), start ?? 0n);
};

const batch: Filter = (value, given, { budget }) => {
  const [linecount, fill] = bind('batch', given, ['linecount', 'fill_with'], 1);
  const size = Math.max(1, intArgument('batch', linecount, 1));
  const list = iterate(value, budget);
  const rows: Value[][] = [];
  for (let i = 0; i < list.length; i += size) rows.push(list.slice(i, i + size));
  const short = rows.at(-1);
  if (short && (fill ?? null) !== null) {
    budget.spend(size);
    while (short.length < size) short.push(fill ?? null);
  }
  return new Stream(rows);
};

const slice: Filter = (value, given, { budget }) => {
  const [slices, fill] = bind('slice', given, ['slices', 'fill_with'], 1);
  const list = iterate(value, budget);
  const count = intArgument('slice', slices, 1);
  if (count < 1) throw new TemplateError('slice needs a number of slices above 0');
  budget.spend(count);
  const [size, more] = [Math.floor(list.length / count), list.length % count];
  let offset = 0;
  return new Stream(
    Array.from({ length: count }, (_, i) => {
      const start = offset + i * size;
      if (i < more) offset++;
      const part = list.slice(start, offset + (i + 1) * size);
      return (fill ?? null) !== null && i >= more ? [...part, fill ?? null] : part;
    }),
  );
};

export const listFilters: readonly (readonly [string, Filter])[] = [
  ['batch', batch],
  ['first', first],
  ['groupby', groupby],
  ['join', join],
  ['last', last],
  ['map', map],
  ['max', extreme('max')],
  ['min', extreme('min')],
  ['reject', selecting('reject', false, false)],
  ['rejectattr', selecting('rejectattr', false, true)],
  ['reverse', reverse],
  ['select', selecting('select', true, false)],
  ['selectattr', selecting('selectattr', true, true)],
  ['slice', slice],
  ['sort', sort],
  ['sum', sum],
  ['unique', unique],
];
