// The functions that every template of transformers may call.
import { bind, intArgument, textArgument } from './arguments.ts';
import { TemplateError, unsupported } from './ast.ts';
import type { Budget } from './budget.ts';
import { Callable, Dict, Fields, type Given, iterate, Namespace, Range, text, type Value } from './values.ts';

/** As in Python's sandbox. */
const maxRange = 100_000;

function range({ args, kwargs }: Given, budget: Budget): Value {
  const [first = 0, second, step = 1] = bind('range', { args, kwargs }, ['start', 'stop', 'step'], 1).map((value) =>
    value === undefined ? undefined : intArgument('range', value, 0),
  );
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (step === 0) throw new TemplateError('range() arg 3 must not be zero');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > maxRange) {
    throw new TemplateError(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${maxRange}).`);
  }
  budget.spend(2 * length);
  const items = Array.from({ length }, (_, i) => BigInt(start + i * step));
  return new Range(items, `range(${start}, ${stop}${step === 1 ? '' : `, ${step}`})`);
}

/** The entries of dict(…) and namespace(…). */
function entriesOf({ args, kwargs }: Given, budget: Budget): (readonly [Value, Value])[] {
  const [first] = args;
  if (args.length > 1) throw new TemplateError('at most one argument is taken without a name');
  const given =
    first === undefined
      ? []
      : first instanceof Dict
        ? first.entries()
        : iterate(first, budget).map((pair) => {
            const [key, value, ...more] = iterate(pair, budget);
            if (key === undefined || value === undefined || more.length > 0) {
              throw new TemplateError('a dict is made of pairs');
            }
            return [key, value] as const;
          });
  budget.spend(4 * (given.length + kwargs.size));
  return [...given, ...kwargs];
}

function namespace(given: Given, budget: Budget): Value {
  const made = new Namespace();
  for (const [key, value] of entriesOf(given, budget)) made.fields.set(text(key, budget), value);
  return made;
}

function cycler({ args }: Given): Value {
  if (args.length === 0) throw new TemplateError('at least one item has to be provided');
  let place = 0;
  const next = new Callable('next', () => args[place++ % args.length]);
  const reset = new Callable('reset', () => {
    place = 0;
    return null;
  });
  return new Fields('Cycler', (name) =>
    name === 'next' ? next : name === 'reset' ? reset : name === 'current' ? args[place % args.length] : undefined,
  );
}

function joiner(given: Given): Value {
  const [sep = ', '] = bind('joiner', given, ['sep']);
  let used = false;
  return new Fields(
    'Joiner',
    () => undefined,
    () => {
      if (used) return sep;
      used = true;
      return '';
    },
  );
}

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];

/** datetime.now().strftime(format), in the C locale. */
function strftimeNow(format: string, budget: Budget): string {
  budget.room(format.length * 12);
  const now = new Date();
  const two = (n: number): string => String(n).padStart(2, '0');
  const dayOfYear =
    Math.round((Date.UTC(now.getFullYear(), now.getMonth(), now.getDate()) - Date.UTC(now.getFullYear(), 0)) / 864e5) +
    1;
  const codes: Readonly<Record<string, () => string>> = {
    a: () => days[now.getDay()].slice(0, 3),
    A: () => days[now.getDay()],
    b: () => months[now.getMonth()].slice(0, 3),
    h: () => months[now.getMonth()].slice(0, 3),
    B: () => months[now.getMonth()],
    d: () => two(now.getDate()),
    e: () => String(now.getDate()).padStart(2, ' '),
    D: () => `${two(now.getMonth() + 1)}/${two(now.getDate())}/${two(now.getFullYear() % 100)}`,
    F: () => `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`,
    H: () => two(now.getHours()),
    I: () => two(now.getHours() % 12 || 12),
    j: () => String(dayOfYear).padStart(3, '0'),
    m: () => two(now.getMonth() + 1),
    M: () => two(now.getMinutes()),
    p: () => (now.getHours() < 12 ? 'AM' : 'PM'),
    R: () => `${two(now.getHours())}:${two(now.getMinutes())}`,
    S: () => two(now.getSeconds()),
    f: () => String(now.getMilliseconds()).padStart(3, '0').padEnd(6, '0'),
    T: () => `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`,
    u: () => String(now.getDay() || 7),
    w: () => String(now.getDay()),
    y: () => two(now.getFullYear() % 100),
    Y: () => String(now.getFullYear()),
    z: () => '',
    Z: () => '',
    '%': () => '%',
    // glibc: without the leading zero
    '-d': () => String(now.getDate()),
    '-m': () => String(now.getMonth() + 1),
    '-H': () => String(now.getHours()),
    '-I': () => String(now.getHours() % 12 || 12),
    '-M': () => String(now.getMinutes()),
  };
  return format.replace(/%(-?.)/gsu, (whole, code: string) => {
    if (Object.hasOwn(codes, code)) return codes[code]();
    throw unsupported(`${whole} of strftime_now`);
  });
}

export function globals(budget: Budget): ReadonlyMap<string, Value> {
  const functions: readonly (readonly [string, (given: Given) => Value])[] = [
    ['range', (given) => range(given, budget)],
    ['dict', (given) => Dict.of(entriesOf(given, budget))],
    ['namespace', (given) => namespace(given, budget)],
    ['cycler', cycler],
    ['joiner', joiner],
    [
      'lipsum',
      () => {
        throw unsupported('lipsum()');
      },
    ],
    [
      'raise_exception',
      (given) => {
        throw new TemplateError(text(bind('raise_exception', given, ['message'], 1)[0] ?? null, budget));
      },
    ],
    [
      'strftime_now',
      (given) => strftimeNow(textArgument('strftime_now', bind('strftime_now', given, ['format'], 1)[0]), budget),
    ],
  ];
  return new Map(functions.map(([name, call]) => [name, new Callable(name, call)]));
}
