// Chat templates: what a template renders, as Python's Jinja under transformers' settings does it, and what a hostile one
// may cost. The right texts were rendered with transformers 5.18 and Jinja2 3.1.6.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ModelcError } from '../../ir/error.ts';
import { checkVariables, type Message, namedTemplate, renderChat } from '../../runtime/tokenization/chat-template.ts';
import { TemplateError } from '../../runtime/tokenization/jinja/ast.ts';
import { renderTemplate } from '../../runtime/tokenization/jinja/render.ts';

const variables = {
  s: 'Hello World',
  l: [3, 1, 2],
  d: { a: 1, b: [1, { c: null }], items: 'own' },
  ld: [
    { a: 1, b: 'x' },
    { a: 2, b: 'y' },
    { b: 'x', a: 1 },
  ],
  f: 1.5,
  u: 'é😀x',
};

describe('templates render as in Python', () => {
  const cases: readonly (readonly [string, string])[] = [
    // undefined values
    ["{% if mode | upper == 'A' %}a{% else %}b{% endif %}", 'b'],
    ["{{ x|length }}[{{ x|trim }}][{{ x|join(',') }}][{{ x|replace('a','b') }}][{{ x|string }}]", '0[][][][]'],
    ["{{ 'a' ~ x ~ 'b' }}{% for i in x %}i{% endfor %}[{{ x|first }}{{ x|last }}{{ x|max }}]{{ x|list }}", 'ab[][]'],
    ["{{ x|selectattr('a')|list|length }}{{ x|map('upper')|list }}{{ x|sort }}{{ x|sum }}{{ x|e }}", '0[][]0'],
    ["{{ x == y }}{{ x != 1 }}{{ 'a' in x }}{{ x in [1] }}{{ '%s' % x }}[{{ 1 if false }}]", 'TrueTrueFalseFalse[]'],
    // values as text
    ['{{ [1, "a\'b", none, true, 1.0, {"k": (1,)}] }}', `[1, "a'b", None, True, 1.0, {'k': (1,)}]`],
    [
      '{{ 1e16 }} {{ 1.5e-5 }} {{ 0.0001 }} {{ 1/2 }} {{ 7//2 }} {{ -8 % 3 }} {{ 2**70 }}',
      '1e+16 1.5e-05 0.0001 0.5 3 1 1180591620717411303424',
    ],
    ["{{ 'é\\n\\u200b' }}|{{ ['é\\n\\u200b'] }}", "é\n\u200b|['é\\n\\u200b']"],
    ['{{ d|tojson }}', '{"a": 1, "b": [1, {"c": null}], "items": "own"}'],
    [
      "{{ {'b':1,'a':'é<'}|tojson(sort_keys=true, ensure_ascii=true, separators=(',',':')) }}",
      '{"a":"\\u00e9<","b":1}',
    ],
    ['{{ [1,{}]|tojson(indent=2) }}', '[\n  1,\n  {}\n]'],
    // operators
    ["{{ 3 > 2 > 1 }}{{ 1 == 1.0 }}{{ '1' == 1 }}{{ [1] == [1] }}{{ 1 in [true] }}", 'TrueTrueFalseTrueTrue'],
    ["{{ 'a' * 3 }}{{ [0] * 2 + [1] }}{{ 'a' < 'b' }}{{ (1 + 1) ~ 'a' }}{{ -2 ** 2 }}", 'aaa[0, 0, 1]True2a4'],
    [
      "{{ l[-1] }}{{ l[::-1] }}{{ s[:4] }}{{ u|length }}{{ u[1] }}{{ d.b[1].c }}{{ d['items'] }}",
      '2[2, 1, 3]Hell3😀Noneown',
    ],
    // filters and tests
    [
      "{{ l|sort|join('-') }} {{ ld|map(attribute='b')|unique|list }} {{ 2.5|round }} {{ '5.7'|int }}",
      "1-2-3 ['x', 'y'] 2.0 5",
    ],
    ["{% for g, m in ld|groupby('a') %}{{ g }}{{ m|length }} {% endfor %}{{ d|dictsort|first }}", "12 21 ('a', 1)"],
    [
      "{{ ld|selectattr('a','equalto',1)|list|length }}{{ 'a b'|title }}{{ 'abc def'|truncate(5, leeway=0) }}",
      '2A Bab...',
    ],
    [
      "{{ none|default('d') }}{{ none|default('d', true) }}{{ x|default('d') }}{{ none is none }}",
      'NonedFalse'.replace('False', 'dTrue'),
    ],
    [
      '{{ 5 is divisibleby 3 }}{{ 5 is odd }}{{ s is string }}{{ d is mapping }}{{ 2 is in [2] }}',
      'FalseTrueTrueTrueTrue',
    ],
    ["{{ '%5.2f|%-3s|%03d' % (1.5, 'a', 7) }}{{ '{}-{a}'.format(1, a=2) }}", ' 1.50|a  |0071-2'],
    [
      "{{ s.split('o', 1) }}{{ s.partition(' ') }}{{ 'aXb'.lower().replace('x', '') }}{{ s.find('zz') }}",
      "['Hell', ' World']('Hello', ' ', 'World')ab-1",
    ],
    // statements
    ['{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}{{ x }} {% else %}none{% endfor %}', '1/23 2/22 '],
    [
      '{% for x in [1,[2]] recursive %}{% if x is iterable %}<{{ loop(x) }}>{% else %}{{ x }}{% endif %}{% endfor %}',
      '1<2>',
    ],
    ['{% set x = 1 %}{% for i in [1,2] %}{{ x }}{% set x = 9 %}{{ x }}{% endfor %}{{ x }}', '19191'],
    ['{% set n = namespace(x=1) %}{% for i in l %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}', '7'],
    [
      '{% macro f(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller }}{% endmacro %}{{ f(1) }}{% call f(3) %}c{% endcall %}',
      '1232c',
    ],
    ['{% set a | upper %}x{{ s }}{% endset %}{{ a }}{% filter lower %}Q{% endfilter %}', 'XHELLO WORLDq'],
    ['{% generation %}a{% set q = 1 %}{% endgeneration %}[{{ q }}]{% raw %}{{ x }}{% endraw %}', 'a[]{{ x }}'],
    ['{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}', '3'],
    // whitespace
    ['  {% if true %}\n  x\n  {% endif %}\ny {#- c -#} z\n', '  x\ny' + 'z'],
    ['a {%+ if true %}b{% endif +%}\n{{- 1 -}} c', 'a b1c'],
  ];
  test.each(cases)('%s', (template, right) => {
    expect(renderTemplate(template, variables)).toBe(right);
  });

  test('numbers of JavaScript: whole ones are ints, big integers stay exact', () => {
    expect(renderTemplate('{{ [a, b, c] }}', { a: 1, b: 1.5, c: 2n ** 64n })).toBe('[1, 1.5, 18446744073709551616]');
  });
});

describe('errors', () => {
  const failure = (template: string): TemplateError => {
    try {
      renderTemplate(template, variables);
    } catch (error) {
      if (error instanceof TemplateError) return error;
      throw error;
    }
    throw new Error('it renders');
  };

  test.each([
    ["{{ 'a' + d }}", 'can only concatenate str (not "dict") to str'],
    ['{{ x.y }}', "'x' is undefined"],
    ['{{ x + 1 }}', "'x' is undefined"],
    ['{{ d.zz.y }}', "'dict object' has no attribute 'zz'"],
    ['{{ l.append(1) }}', "access to attribute 'append' of 'list' object is unsafe."],
    ["{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe."],
    ["{{ raise_exception('no ' ~ 1) }}", 'no 1'],
    ['{{ range(100001) }}', 'Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).'],
  ])('%s', (template, message) => {
    expect(failure(template)).toMatchObject({ kind: 'runtime', message });
  });

  test.each(["{% include 'x' %}", "{{ 'a'|pprint }}", "{{ 'a'.encode() }}", '{{ l|map("string") }}', '{{ d.get }}'])(
    '%s is not served, and said to be',
    (template) => {
      expect(failure(template).kind).toBe('unsupported');
    },
  );

  test.each(['{{ 1', '{% if 1 %}', '{% nope %}', '{{ f(a=1, 2) }}', '{{ 1|nofilter }}', "{{ 'a }}", '{% break %}'])(
    '%s is malformed',
    (template) => {
      expect(failure(template).kind).toBe('syntax');
    },
  );

  test('the line is told', () => {
    expect(failure('a\nb\n{{ 1 + none }}').line).toBe(3);
    expect(failure('a\n{% if %}').line).toBe(2);
  });

  test('nothing of JavaScript is reachable', () => {
    for (const name of ['constructor', '__proto__', 'prototype', 'length', 'toString', 'hasOwnProperty']) {
      for (const value of ['d', 'l', 's', 'namespace(a=1)', 'f']) {
        expect(renderTemplate(`{{ ${value}.${name} }}{{ ${value}['${name}'] }}`, variables)).toBe('');
      }
      expect(renderTemplate(`{{ ${name} }}`, variables)).toBe('');
    }
  });
});

describe('hostile templates end soon', () => {
  const nested = (open: string, close: string): string => `{{ ${open.repeat(30_000)}1${close.repeat(30_000)} }}`;
  test.each([
    ['{% for i in range(1000000000) %}{% endfor %}'],
    ['{% for i in range(30000) %}{% for j in range(30000) %}{% endfor %}{% endfor %}'],
    ['{% set n = namespace(l=[1]) %}{% for i in range(40) %}{% set n.l = n.l + n.l %}{% endfor %}{{ n.l|length }}'],
    ['{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}'],
    ["{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}"],
    ['{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l|tojson }}'],
    ['{% set n = namespace(l=(1,)) %}{% for i in range(99) %}{% set n.l = (n.l, n.l) %}{% endfor %}{{ {n.l: 1} }}'],
    ["{{ 'a' * 1000000000 }}"],
    ["{{ range(100000)|list|join('x' * 100000) }}"],
    ["{{ ('a\\n' * 100000)|indent(1000000000) }}"],
    ["{{ 'a'|center(1000000000) }}"],
    ["{{ '%1000000000d'|format(1) }}"],
    ["{{ ('a' * 1000000).replace('', 'b' * 1000000) }}"],
    ['{{ 9 ** 999999999 }}'],
    ['{{ [1]|batch(1000000000, 2)|list }}'],
    ['{{ [1]|tojson(indent=1000000000) }}'],
    ["{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s.find('b') }}{{ s|length }}{{ s[5] }}{% endfor %}"],
    ['{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}'],
    [nested('(', ')')],
    [nested('[', ']')],
    [nested('not ', '')],
    [nested('-', '')],
    ['{% if 1 %}'.repeat(20_000)],
    [`{{ a${'.b'.repeat(50_000)} }}`],
    [`{{ 1${' + 1'.repeat(50_000)} }}`],
    ['a'.repeat(300_000)],
  ])(
    '%.60s',
    (template) => {
      expect(() => renderTemplate(template, {})).toThrow(TemplateError);
    },
    5000,
  );

  test('a long conversation is none of them', () => {
    const messages = Array.from({ length: 2000 }, (_, i) => ({
      role: i % 2 ? 'assistant' : 'user',
      content: 'word '.repeat(100),
    }));
    const template =
      "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content | trim + '\\n' }}{% if not loop.last %}\n{% endif %}{% endfor %}";
    expect(renderTemplate(template, { messages }).length).toBeGreaterThan(1_000_000);
  });
});

describe('conversations', () => {
  const template = '{% for m in messages %}[{{ m.role }}:{{ m.content | trim }}]{% endfor %}';
  const render = (messages: unknown, options = {}, source = template): string =>
    renderChat(source, 'tiny', messages as Message[], options, {});

  test('what is no conversation is refused with an example', () => {
    for (const wrong of ['hi', 5, null, undefined, { role: 'user' }, ['hi'], [null], [[1]]]) {
      expect(() => render(wrong)).toThrow(ModelcError);
      expect(() => render(wrong)).toThrow(/role: 'user', content: 'Hello'/);
    }
    expect(render([])).toBe('');
    expect(render([{ content: 'a' }])).toBe('[:a]');
    expect(() => render([{ role: 'user', content: () => 1 }])).toThrow(/messages\[0\]\.content .* but is a function/);
  });

  test('tools and documents are lists of objects', () => {
    expect(() => render([], { tools: [() => 1] })).toThrow(
      /tools must be an array of objects .* element 0 is a function/,
    );
    expect(() => render([], { documents: 'x' })).toThrow(/documents must be an array of objects/);
  });

  test('a value that holds itself is refused', () => {
    const loop: Record<string, unknown> = { role: 'user' };
    loop.content = [loop];
    expect(() => render([loop])).toThrow(/nested too deeply, or holds itself/);
  });

  test('the final message is continued', () => {
    const chat = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'Sure, ', thinking: 'hm' },
    ];
    expect(render(chat, { continue_final_message: true })).toBe('[user:a][assistant:Sure,');
    const thinking = '{% for m in messages %}{{ m.thinking }}|{{ m.content }}{% endfor %}';
    expect(render(chat, { continue_final_message: 'thinking' }, thinking)).toBe('|ahm');
    expect(() => render(chat, { continue_final_message: 'nope' })).toThrow(
      /needs a last message with text as its nope/,
    );
    expect(() => render([], { continue_final_message: true })).toThrow(/needs a conversation with a message/);
    expect(() => render(chat, { continue_final_message: true, add_generation_prompt: true })).toThrow(
      /exclude each other/,
    );
  });

  test('names of templates and misspelt options', () => {
    expect(namedTemplate('rag', { default: 'a', rag: 'b' }, 'tiny')).toBe('b');
    expect(namedTemplate('{{ x }}', {}, 'tiny')).toBe('{{ x }}');
    expect(() => namedTemplate('tool_us', { tool_use: 'b' }, 'tiny')).toThrow(/no chat template 'tool_us'.*`tool_use`/);
    expect(() => namedTemplate(5, {}, 'tiny')).toThrow(/is a number/);
    checkVariables({ enable_thinking: true }, template);
    checkVariables({ tool: 1 }, '{{ tool }}');
    expect(() => checkVariables({ add_generation_promt: true }, template)).toThrow(
      /did you mean `add_generation_prompt`/,
    );
  });

  test('errors name whose template it is, its line, and are short', () => {
    const failure = (source: string): unknown => {
      try {
        return render([], {}, source);
      } catch (error) {
        return error;
      }
    };
    expect(failure('\n{{ 1 + none }}')).toMatchObject({
      code: 'input',
      message: expect.stringContaining('tiny rejects the conversation (line 2)'),
    });
    expect(failure('{{ 1')).toMatchObject({ code: 'parse', message: expect.stringContaining('tiny is malformed') });
    expect(failure("{% include 'x' %}")).toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('tag {% include %}'),
    });
    expect(failure('{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}')).toMatchObject({
      code: 'input',
      message: expect.stringContaining('tiny asks for too much'),
    });
    const long = failure("{{ raise_exception('x' * 100000) }}");
    expect((long as Error).message.length).toBeLessThan(700);
  });
});

const material = join(import.meta.dirname, '../../../shared/data');
describe.skipIf(!existsSync(material))('material', () => {
  test('undefined variables', () => {
    const field = JSON.parse(
      readFileSync(join(material, 'field/template-undefined-variables/expected.json'), 'utf8'),
    ) as {
      messages: Message[];
      cases: { template: string; variables: Record<string, unknown>; rendered: string }[];
    };
    for (const c of field.cases) {
      expect(renderChat(c.template, 'case', field.messages, {}, c.variables), c.template).toBe(c.rendered);
    }
  });

  test('hostile templates', () => {
    for (const template of JSON.parse(readFileSync(join(material, 'hostile/templates.json'), 'utf8')) as string[]) {
      expect(() => renderChat(template, 'case', [], {}, {}), template).toThrow(ModelcError);
    }
  });
});
