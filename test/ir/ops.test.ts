// The op table: every case of test/support/cases/*.ts is evaluated by the interpreter and compared with what the case states, with
// TensorFlow.js where the op exists there, with the op's own element code, and with every device of this machine; and
// every constraint of every op is violated once.
import '@tensorflow/tfjs-backend-cpu';
import { readdirSync, readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { dim, dimEval } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import { evaluate } from '../../ir/eval.ts';
import { make } from '../../ir/make.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import type { OpName } from '../../ir/node.ts';
import type { Attrs } from '../../ir/ops/attrs.ts';
import { opNames } from '../../ir/ops/index.ts';
import { checkAxisRule } from '../support/axis-rule.ts';
import type { Case, FailingCase } from '../support/cases/case.ts';
import { difference } from '../support/compare.ts';
import { devices } from '../support/devices.ts';
import { evaluateElements } from '../support/element.ts';
import { type Built, build, cases, failing, paramsOf } from '../support/op-cases.ts';
import { type DeviceResult, isTooLong } from '../support/test-device.ts';

const { present, missing } = await devices();

const crossRank = 'a collective speaks to other ranks; programs of one rank are all that is compiled so far';
/** The ops that devices refuse, with the reason. The list is exact: an op that gains a kernel leaves it. */
const withoutKernels: Partial<Record<OpName, string>> = {
  all_gather: crossRank,
  all_reduce: crossRank,
  reduce_scatter: crossRank,
  all_to_all: crossRank,
  permute: crossRank,
  axis_index: crossRank,
};

function interpret(c: Case, { graph }: Built): NdArray {
  return evaluate(graph, { params: paramsOf(c), dims: c.dims ?? {} }).results.get('result')!;
}

const tensorType = (x: NdArray): 'float32' | 'bool' | 'int32' =>
  x.dtype === 'f32' ? 'float32' : x.dtype === 'bool' ? 'bool' : 'int32';

function byTensorFlow(c: Case, expected: NdArray): NdArray {
  const tensors = c.args.map((x) => tf.tensor([...x.data], [...x.shape], tensorType(x)));
  const result = c.tfjs!(...tensors);
  expect(result.shape).toEqual(expected.shape);
  return ndarray(expected.dtype, result.shape, Float64Array.from(result.dataSync<'float32'>()));
}

beforeAll(async () => {
  tf.env().set('IS_TEST', true); // no advertisement
  await tf.setBackend('cpu');
});

test('every op has a case', () => {
  const covered = new Set(cases.map((c) => c.op));
  expect(opNames.filter((op) => !covered.has(op))).toEqual([]);
});

describe('cases', () => {
  test.each(cases.map((c) => [c.op, c.name, c] as const))('%s: %s', async (_op, _name, c) => {
    const built = build(c);
    const result = interpret(c, built);
    expect(result.dtype).toBe(built.node.type.dtype);
    expect(result.shape).toEqual(built.node.type.shape.map((d) => dimEval(d, c.dims ?? {})));
    if (c.expected) {
      const stated = ndarray(result.dtype, result.shape, c.expected);
      expect(difference(result, stated, c.tolerance ?? 0), 'interpreter against the stated result').toBeUndefined();
    }
    if (c.tfjs) {
      const other = byTensorFlow(c, result);
      expect(difference(result, other, c.tolerance ?? 0), 'interpreter against TensorFlow.js').toBeUndefined();
    }
    const { node } = built;
    if (c.op !== 'param') checkAxisRule(node, c.leaf ? [] : c.args, c.dims ?? {});
    const byElements = evaluateElements(node, c.args, c.dims ?? {});
    if (byElements) expect(difference(byElements, result, c.tolerance ?? 0), 'element code').toBeUndefined();
  });
});

describe('ill-typed ops name the violated constraint', () => {
  const text = (c: FailingCase) =>
    `${JSON.stringify(c.attrs, (_, v) => (v instanceof Map ? [...v] : v))}`.slice(0, 100);
  test.each(failing.map((c) => [c.op, c.constraint, text(c), c] as const))('%s C%d: %s', (op, constraint, _, c) => {
    const args = c.args.map(([dtype, shape], i) =>
      make('param', [], { name: `p${i}`, kind: 'input', dtype, shape: shape.map((d) => dim(d)) }),
    );
    let thrown: unknown;
    try {
      make(op, args, c.attrs as Attrs[typeof op]);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ModelcError);
    expect((thrown as ModelcError).code).toBe('type');
    expect((thrown as ModelcError).message).toMatch(new RegExp(`^${op} \\(C${constraint}\\): .`));
  });

  test('every check in ir/ops has such a case', () => {
    const ops = new URL('../../ir/ops/', import.meta.url);
    const sources = readdirSync(ops, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    const checks = new Set(
      sources.flatMap((name) =>
        [
          ...readFileSync(new URL(name, ops), 'utf8').matchAll(/(?:fail|require\w+|windowPlaces)\(\s*'(\w+)',\s*(\d)/g),
        ].map(([, op, constraint]) => `${op} C${constraint}`),
      ),
    );
    for (const c of failing) checks.delete(`${c.op} C${c.constraint}`);
    expect([...checks].sort()).toEqual([]);
  });
});

describe('devices', () => {
  for (const { name, why } of missing) test.skip(`${name} is not here: ${why}`, () => {});
  for (const device of present) {
    describe(device.name, () => {
      // All cases in one native build, so that it takes seconds.
      let results: DeviceResult[] = [];
      const builds = cases.map(build);
      beforeAll(async () => {
        const runs = cases.map((c, i) => ({ graph: builds[i].graph, params: paramsOf(c), dims: c.dims ?? {} }));
        results = await device.run(runs);
      }, 600_000);

      test('compiles everything but what is listed', () => {
        const refused = new Set(cases.filter((_, i) => results[i] instanceof Error).map((c) => c.op));
        expect([...refused].sort()).toEqual(Object.keys(withoutKernels).sort());
      });

      test.for(cases.map((c, i) => [c.op, c.name, i] as const))('%s: %s', ([op, _name, i], context) => {
        const result = results[i];
        if (op in withoutKernels) {
          expect(result, withoutKernels[op]).toBeInstanceOf(ModelcError);
          expect((result as ModelcError).code).toBe('unsupported');
          return;
        }
        if (result instanceof Error) throw result;
        const c = cases[i];
        const expected = interpret(c, builds[i]);
        if ([...c.args, expected].some((x) => isTooLong(x, device.longBits))) {
          return context.skip(`${device.name} keeps ${device.longBits} bits of an i64`);
        }
        const tolerance = c.deviceTolerance ?? c.tolerance ?? 0;
        expect(difference(result.results.get('result')!, expected, tolerance)).toBeUndefined();
      });
    });
  }
});
