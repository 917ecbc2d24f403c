// What every public call does with its options, and what every message looks like.
import { describe, expect, it } from 'vitest';
import { parseJson } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';

const check = (options: unknown) => () =>
  checkOptions('load()', options, ['padding', 'max_length'], { stride: 0, return_offsets: false });

describe('options of a call', () => {
  it('are refused with the nearest name where nobody knows them', () => {
    expect(check({ paddding: true })).toThrow('load() does not know the option `paddding`; did you mean `padding`?');
    expect(check({ maxLength: 3 })).toThrow('did you mean `max_length`?');
    expect(check({ zzz: 1 })).toThrow('load() does not know the option `zzz`; it takes padding, max_length');
    expect(check({ constructor: 1 })).toThrow(ModelcError);
    const call = () => checkOptions('generate()', { max_tokens: 5 }, ['max_time', 'max_new_tokens', 'max_length']);
    expect(call).toThrow('generate() does not know the option `max_tokens`; did you mean `max_new_tokens`?');
  });
  it('are refused where they are known and not served, unless they ask for nothing', () => {
    expect(check({ stride: 2 })).toThrow('load() does not serve the option `stride`');
    for (const options of [{ stride: 0 }, { stride: null }, { return_offsets: false }, { zzz: undefined }, undefined])
      expect(check(options)).not.toThrow();
  });
  it('must be an object', () => {
    expect(check('padding')).toThrow('must be an object');
    expect(check([1])).toThrow('must be an object');
  });
});

describe('messages', () => {
  it('hold no terminal escapes and are cut in their middle', () => {
    expect(new ModelcError('input', 'a\u001b[31mred\u202e').message).toBe('a\\u001b[31mred\\u202e');
    const { message } = new ModelcError('input', `${'x'.repeat(1e6)}; do this`);
    expect(message.length).toBeLessThan(650);
    expect(message).toMatch(/^x+ … x+; do this$/);
  });
});

describe('JSON of Python', () => {
  it('has numbers that JSON has not', () => {
    const text = '{"a": NaN, "b": [Infinity, -Infinity], "NaN": "Infinity NaN \\" NaN", "c": "#"}';
    expect(parseJson(text, 'it', 'parse')).toEqual({
      a: Number.NaN,
      b: [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
      NaN: 'Infinity NaN " NaN',
      c: '#',
    });
  });
  it('is refused elsewhere', () => {
    expect(() => parseJson('{"a": NaNs}', 'it', 'parse')).toThrow('it is not valid JSON');
    expect(() => parseJson('{"a": +NaN}', 'it', 'parse')).toThrow('it is not valid JSON');
  });
});
