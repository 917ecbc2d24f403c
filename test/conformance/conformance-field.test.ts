// Cases from the field: calls as text are read, never run as programs, and a folder with expected.json passes or fails by
// what its files say.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readCall, type Scope } from '../../runtime/conformance/field/call.ts';
import { AutoTokenizer } from '../../runtime/index.ts';
import { example, root } from '../support/command.ts';

describe('calls as text', () => {
  const scope: Scope = {
    functions: {
      tokenizer: (...args) => args,
      'tokenizer.encode': (...args) => args.length,
      'new Config': () => 'new',
    },
    values: { texts: ['a', 'b'] },
  };
  test('have literals and known names as arguments', () => {
    expect(
      readCall(
        'tokenizer(texts[1], { padding: \'do_not_pad\', n: -1.5, of: [true, null, { "x y": 2 }] })',
        scope,
      ).run(),
    ).toEqual(['b', { padding: 'do_not_pad', n: -1.5, of: [true, null, { 'x y': 2 }] }]);
    expect(readCall('await tokenizer.encode(texts, {},)', scope).run()).toBe(2);
    expect(readCall('new Config()', scope).run()).toBe('new');
    expect(readCall("tokenizer('it\\'s', { texts })", scope).run()).toEqual(["it's", { texts: ['a', 'b'] }]);
  });
  test('are nothing else', () => {
    for (const text of [
      'process.exit()',
      'tokenizer(process)',
      'tokenizer(texts); process.exit()',
      'tokenizer(() => 1)',
      'tokenizer(texts[0].constructor)',
      'tokenizer(`x`)',
      'constructor()',
      'tokenizer(texts',
    ]) {
      expect(() => readCall(text, scope), text).toThrow(
        expect.objectContaining({ name: 'ModelcError', code: 'parse' }),
      );
    }
  });
});

describe('folders with expected.json', () => {
  let scratch = '';
  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), 'modelc-field-'));
  });
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  const writeCase = (name: string, expected: object): void => {
    mkdirSync(join(scratch, name));
    for (const file of ['tokenizer.json', 'tokenizer_config.json'])
      cpSync(join(example, file), join(scratch, name, file));
    writeFileSync(join(scratch, name, 'expected.json'), JSON.stringify(expected));
  };

  test('pass and fail by what they hold', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(example);
    const ids = tokenizer.encode('Once upon');
    writeCase('right', {
      texts: ['Once'],
      messages: [{ role: 'user', content: 'Hi' }],
      cases: [
        { text: 'Once upon', ids, stop: 'upon', stops_after_tokens: ids.length },
        { template: '{{ messages[0].content }}{{ x }}', variables: { x: 1 }, rendered: 'Hi1' },
        { call: 'tokenizer(texts[0], { padding: true })', right: '1 row' },
      ],
    });
    writeCase('wrong', { cases: [{ text: 'Once upon', ids: [...ids, 7] }] });
    writeCase('strange', { color: 'red' });
    const { stdout, status } = spawnSync(process.execPath, [join(root, 'dist', 'conformance.js'), scratch], {
      encoding: 'utf8',
    });
    expect(stdout).toMatch(/^pass {2}right +4 checks/m);
    expect(stdout).toMatch(/^FAIL {2}wrong .*ids differs at/m);
    expect(stdout).toMatch(/^FAIL {2}strange .*not run: color; nothing in expected\.json is known/m);
    expect(stdout).toContain('1 passed, 2 failed, 0 skipped');
    expect(status).toBe(1);
  });
});
