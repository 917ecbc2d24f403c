// What attributes and items values have for a template: Python's, as far as its sandbox lets templates see them. Names with
// leading underscores and methods that change a value are refused; nothing of JavaScript is reachable.
import { bind } from './arguments.ts';
import { TemplateError, unsupported } from './ast.ts';
import type { Budget } from './budget.ts';
import { Group } from './list-filters.ts';
import { equal, numeric } from './operations.ts';
import { otherStringMethods, stringMethods } from './strings.ts';
import {
  Callable,
  characters,
  Dict,
  Fields,
  type Given,
  isList,
  Markup,
  Namespace,
  orElse,
  Range,
  Tuple,
  text,
  typeName,
  Undefined,
  type Value,
  View,
} from './values.ts';

const changing: Readonly<Record<string, readonly string[]>> = {
  list: ['append', 'clear', 'pop', 'reverse', 'insert', 'sort', 'extend', 'remove'],
  dict: ['clear', 'pop', 'popitem', 'setdefault', 'update'],
};

/** Attributes that Python's values have and templates here do not get. */
const unserved: Readonly<Record<string, readonly string[]>> = {
  str: otherStringMethods,
  dict: ['fromkeys'],
  function: ['name', 'arguments', 'caller', 'catch_kwargs', 'catch_varargs'],
  int: [
    'as_integer_ratio',
    'bit_count',
    'bit_length',
    'conjugate',
    'denominator',
    'from_bytes',
    'imag',
    'is_integer',
    'numerator',
    'real',
    'to_bytes',
  ],
  bool: ['imag', 'numerator', 'denominator', 'real'],
  float: ['as_integer_ratio', 'conjugate', 'fromhex', 'hex', 'imag', 'is_integer', 'real'],
  range: ['count', 'index', 'start', 'step', 'stop'],
  dict_keys: ['isdisjoint', 'mapping'],
  dict_values: ['mapping'],
  dict_items: ['isdisjoint', 'mapping'],
};

type Method = (given: Given) => Value;

function dictMethod(dict: Dict, name: string, budget: Budget): Method | undefined {
  const without =
    (give: () => Value): Method =>
    (given) => {
      bind(name, given, []);
      budget.spend(2 * dict.size);
      return give();
    };
  switch (name) {
    case 'get':
      return (given) => {
        const [key, otherwise] = bind('get', given, ['key', 'default'], 1);
        return orElse(dict.get(key ?? null), otherwise ?? null);
      };
    case 'items':
      return without(
        () =>
          new View(
            'items',
            dict.entries().map((entry) => new Tuple(entry)),
          ),
      );
    case 'keys':
      return without(() => new View('keys', dict.keys()));
    case 'values':
      return without(() => new View('values', dict.values()));
    case 'copy':
      return without(() => dict);
  }
  return undefined;
}

function listMethod(self: readonly Value[], name: string, budget: Budget): Method | undefined {
  switch (name) {
    case 'count':
      return (given) => {
        const [item] = bind('count', given, ['value'], 1);
        return BigInt(self.filter((other) => equal(other, item ?? null, budget)).length);
      };
    case 'index':
      return (given) => {
        const [item] = bind('index', given, ['value'], 1);
        const place = self.findIndex((other) => equal(other, item ?? null, budget));
        if (place < 0) throw new TemplateError('the value is not in list');
        return BigInt(place);
      };
  }
  return undefined;
}

function methodOf(object: Value, name: string, budget: Budget): Method | undefined {
  if (typeof object === 'string') {
    const method = stringMethods.get(name);
    return (
      method &&
      ((given) => {
        budget.scan(object);
        return method(object, given, budget);
      })
    );
  }
  if (object instanceof Dict) return dictMethod(object, name, budget);
  if (object instanceof Tuple) return listMethod(object.items, name, budget);
  if (object === null || typeof object !== 'object' || !isList(object)) return undefined;
  return name === 'copy' ? () => object : listMethod(object, name, budget);
}

/** What Python's getattr gives; undefined where there is none. */
function own(object: Value, name: string, budget: Budget): Value | undefined {
  const type = typeName(object);
  const isUnsafe = /^__\w+__$/.test(name) || (Object.hasOwn(changing, type) && changing[type].includes(name));
  if (isUnsafe) return new Undefined(name, `access to attribute '${name}' of '${type}' object is unsafe.`);
  const method = methodOf(object, name, budget);
  if (method) return new Callable(name, method);
  if (object instanceof Markup && stringMethods.has(name)) throw unsupported(`.${name} of text that is marked as safe`);
  if (Object.hasOwn(unserved, type) && unserved[type].includes(name)) throw unsupported(`.${name} of ${type}`);
  if (object instanceof Group)
    return name === 'grouper' ? object.items[0] : name === 'list' ? object.items[1] : undefined;
  return object instanceof Fields ? object.get(name) : undefined;
}

/** What object[key] gives; undefined where there is none. */
function indexed(object: Value, key: Value, budget: Budget): Value | undefined {
  if (typeof key === 'string') budget.scan(key);
  if (typeof object === 'string') budget.spend(object.length >> 2);
  if (object instanceof Dict) {
    const isKey = !(key instanceof Dict || (typeof key === 'object' && key !== null && isList(key)));
    return isKey ? object.get(key) : undefined;
  }
  if (object instanceof Namespace) return undefined;
  const place = numeric(key);
  if (typeof place !== 'bigint') return undefined;
  const items =
    typeof object === 'string' || object instanceof Markup
      ? characters(typeof object === 'string' ? object : object.text)
      : object instanceof Tuple || object instanceof Range
        ? object.items
        : object !== null && typeof object === 'object' && isList(object)
          ? object
          : [];
  return items.at(Number(place) < -items.length ? items.length : Number(place));
}

function missing(object: Value, key: Value, budget: Budget): Undefined {
  const kind = object === null ? 'None' : `${typeName(object)} object`;
  if (typeof key === 'string') return new Undefined(key, `'${kind}' has no attribute '${key}'`);
  return new Undefined('', `${kind} has no element ${text(key, budget)}`);
}

/** What the filter attr gives: only what Python's getattr finds, no items of dicts. */
export function plainAttributeOf(object: Value, name: string, budget: Budget): Value {
  if (object instanceof Dict) return orElse(own(object, name, budget), missing(object, name, budget));
  return attributeOf(object, name, budget);
}

/** object.name */
export function attributeOf(object: Value, name: string, budget: Budget): Value {
  if (object instanceof Undefined) object.fail();
  if (object instanceof Namespace) return orElse(object.fields.get(name), missing(object, name, budget));
  const value = own(object, name, budget);
  return value === undefined ? orElse(indexed(object, name, budget), missing(object, name, budget)) : value;
}

/** object[key] */
export function itemOf(object: Value, key: Value, budget: Budget): Value {
  if (object instanceof Undefined) object.fail();
  if (object instanceof View && typeof key !== 'string') return missing(object, key, budget);
  const item = indexed(object, key, budget);
  if (item !== undefined) return item;
  return typeof key === 'string' ? attributeOf(object, key, budget) : missing(object, key, budget);
}
