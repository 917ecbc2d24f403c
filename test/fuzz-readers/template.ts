// Chat templates: some as models have them, and random ones of Jinja's grammar, which now and then ask for very much.
import { hostileNumber, hostileText } from './hostile-values.ts';
import type { Random } from './random.ts';

export const templateSeeds: readonly string[] = [
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}{% set messages = messages[1:] %}{% endif %}{%- for m in messages -%}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role | upper }}] {{ m.content }}{{ eos_token }}{%- endfor -%}",
  "{%- if tools %}{%- for tool in tools %}{{ tool | tojson(indent=4) }}{%- endfor %}{%- endif %}{% set ns = namespace(found=false) %}{% for m in messages %}{% if not ns.found and m.role == 'user' %}{% set ns.found = true %}{{ m.content }}{% elif m.role is defined and m.content is string %}{{ m.content | replace('a', 'b') }}{% else %}{{ m | items | list | length }}{% endif %}{% endfor %}",
  "{% macro show(m, n=2) %}{{ m.role ~ ':' ~ m.content * n }}{% endmacro %}{% for m in messages %}{{ show(m) }}{{ show(m, n=3) if loop.first else '' }}{% endfor %}{{ strftime_now('%d %b %Y') }}",
  "{% for m in messages | selectattr('role', 'equalto', 'user') | list %}{{ m['content'][:3] | safe }}{{ (messages | map(attribute='role') | join(', ')) }}{% endfor %}{# a comment #}{% generation %}{{ messages[-1].content }}{% endgeneration %}",
  "{% filter upper %}{% for k, v in {'a': 1, 'b': [1, 2]}.items() %}{{ k }}={{ v }}{% if loop.index > 1 %}{% break %}{% endif %}{% endfor %}{% endfilter %}{{ [1, 2, 3] | sum if false else {'x': 1} | dictsort }}{{ 'abc'.split('b') | last }}",
];

const variables = [
  'messages',
  'tools',
  'documents',
  'add_generation_prompt',
  'bos_token',
  'x',
  'loop',
  'm',
  'ns',
  'missing',
];
const filters = [
  'upper', 'lower', 'trim', 'length', 'list', 'join', 'string', 'int', 'float', 'tojson', 'first', 'last', 'reverse', 'sort', 'unique',
  'abs', 'sum', 'items', 'dictsort', 'title', 'capitalize', 'indent', 'safe', 'escape', 'urlencode', 'selectattr', 'rejectattr', 'map',
  'replace', 'default', 'batch', 'slice', 'groupby', 'random', 'nothing',
]; // biome-ignore format: one list
const tests = [
  'defined',
  'undefined',
  'none',
  'string',
  'number',
  'mapping',
  'iterable',
  'sequence',
  'true',
  'even',
  'odd',
  'in',
  'nothing',
];
const methods = [
  'strip',
  'split',
  'items',
  'keys',
  'get',
  'upper',
  'lower',
  'startswith',
  'replace',
  'append',
  'constructor',
  '__class__',
];
const operators = ['+', '-', '*', '/', '//', '%', '**', '~', '==', '!=', '<', '>', 'and', 'or', 'in', 'not in'];

const quoted = (text: string): string =>
  `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('%}', '')}'`;

function expression(random: Random, depth = 0): string {
  const part = (): string => expression(random, depth + 1);
  if (depth > 3 || random.chance(0.3)) {
    return random.pick([
      () => random.pick(variables),
      () => String(hostileNumber(random)),
      () => quoted(hostileText(random)),
      () => `range(${random.pick([3, 30_000, 1e9])})`,
      () => 'none',
    ])();
  }
  switch (random.below(10)) {
    case 0:
      return `${part()} | ${random.pick(filters)}`;
    case 1:
      return `${part()} | ${random.pick(filters)}(${part()})`;
    case 2:
      return `(${part()} ${random.pick(operators)} ${part()})`;
    case 3:
      return `${part()}.${random.pick(methods)}(${random.chance(0.5) ? part() : ''})`;
    case 4:
      return `${part()}[${part()}]`;
    case 5:
      return `${part()}[${part()}:${random.chance(0.5) ? part() : ''}]`;
    case 6:
      return `[${random.list(random.below(3), part).join(', ')}]`;
    case 7:
      return `{${random.list(random.below(3), () => `${quoted(hostileText(random).slice(0, 9))}: ${part()}`).join(', ')}}`;
    case 8:
      return `(${part()} if ${part()} else ${part()})`;
    default:
      return `${part()} is ${random.chance(0.3) ? 'not ' : ''}${random.pick(tests)}`;
  }
}

/** A template of Jinja's grammar. */
export function randomTemplate(random: Random, depth = 0): string {
  const body = (): string => randomTemplate(random, depth + 1);
  const value = (): string => expression(random);
  const statement = (): string => {
    if (depth > 2) return `{{ ${value()} }}`;
    switch (random.below(9)) {
      case 0:
        return `{% for ${random.pick(['m', 'x', 'k, v'])} in ${value()} %}${body()}{% endfor %}`;
      case 1:
        return `{% if ${value()} %}${body()}{% else %}${body()}{% endif %}`;
      case 2:
        return `{% set ${random.pick(['x', 'ns', 'messages'])} = ${value()} %}`;
      case 3:
        return `{% set ns = namespace(l=[1], s='a') %}{% for i in range(${random.pick([2, 40, 1000])}) %}{% set ns.${random.pick(['l = ns.l + ns.l', 's = ns.s ~ ns.s', 'l = [ns.l, ns.l]'])} %}{% endfor %}{{ ns.l | length }}`;
      case 4:
        return `{% macro f(n, k=1) %}${body()}${random.chance(0.3) ? '{{ f(n + 1) }}' : ''}{% endmacro %}{{ f(${value()}) }}`;
      case 5:
        return random.pick([
          '{% break %}',
          '{% continue %}',
          '{% endfor %}',
          '{% raw %}{{ x }}{% endraw %}',
          '{#',
          '{{',
          '{%- -%}',
        ]);
      case 6:
        return hostileText(random);
      default:
        return `{{ ${value()} }}`;
    }
  };
  return random.list(random.few(), statement).join('');
}
