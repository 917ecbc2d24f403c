// Symbolic dimensions: canonical form, proofs by bounds, exact division, substitution.
import { describe, expect, test } from 'vitest';
import {
  dim,
  dimAdd,
  dimConst,
  dimDivExact,
  dimEquals,
  dimEval,
  dimLessEqual,
  dimMul,
  dimProduct,
  dimSub,
  dimSubstitute,
  dimText,
  dimVar,
  shapeEquals,
  shapeText,
} from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';

const batch = dimVar('batch', 1, 8);
const seq = dimVar('seq', 1, 512);
const past = dimVar('past', 0, 4096);

describe('canonical form', () => {
  test('sums and products commute, distribute and cancel', () => {
    expect(dimEquals(dimAdd(seq, past), dimAdd(past, seq))).toBe(true);
    expect(dimEquals(dimMul(batch, dimAdd(seq, past)), dimAdd(dimMul(past, batch), dimMul(batch, seq)))).toBe(true);
    expect(dimConst(dimSub(dimAdd(seq, 3), seq))).toBe(3);
    expect(dimSub(seq, seq).vars.size).toBe(0);
    expect(dimEquals(dimMul(seq, 0), 0)).toBe(true);
    expect(dimEquals(dimProduct([]), 1)).toBe(true);
  });

  test('equal dims print equal text', () => {
    expect(dimText(dimSub(dimAdd(dimMul(dimMul(2, seq), batch), past), 1))).toBe('2*batch*seq + past - 1');
    expect(dimText(dimAdd(-1, dimAdd(past, dimMul(dimMul(batch, 2), seq))))).toBe('2*batch*seq + past - 1');
    expect(dimText(dimMul(seq, seq))).toBe('seq*seq');
    expect(dimText(dimMul(seq, -1))).toBe('-seq');
    expect(dimText(dimSub(seq, seq))).toBe('0');
    expect(shapeText([batch, dimAdd(past, seq), dim(64)])).toBe('[batch, past + seq, 64]');
  });

  test('different dims are different', () => {
    expect(dimEquals(seq, past)).toBe(false);
    expect(dimEquals(seq, 512)).toBe(false);
    expect(dimEquals(dimMul(2, seq), seq)).toBe(false);
    expect(shapeEquals([seq], [seq, dim(1)])).toBe(false);
    expect(shapeEquals([seq, dim(2)], [seq, dim(2)])).toBe(true);
  });
});

describe('bounds', () => {
  test('follow from the terms', () => {
    const total = dimAdd(past, seq);
    expect([total.min, total.max]).toEqual([1, 4608]);
    const product = dimMul(batch, dimSub(seq, 1));
    expect([product.min, product.max]).toEqual([1 - 8, 4096 - 1]); // of the polynomial, term by term
  });

  test('prove inequalities or do not', () => {
    expect(dimLessEqual(seq, 512)).toBe(true);
    expect(dimLessEqual(seq, dimAdd(past, seq))).toBe(true);
    expect(dimLessEqual(dimAdd(past, seq), seq)).toBe(false);
    expect(dimLessEqual(seq, past)).toBe(false);
    expect(dimLessEqual(past, seq)).toBe(false);
    expect(dimLessEqual(seq, 511)).toBe(false);
    expect(dimLessEqual(1, seq)).toBe(true);
  });
});

describe('exact division', () => {
  const quotient = (x: Parameters<typeof dimDivExact>[0], y: Parameters<typeof dimDivExact>[1]) => {
    const q = dimDivExact(x, y);
    return q && dimText(q);
  };
  test('by constants and monomials', () => {
    expect(quotient(12, 4)).toBe('3');
    expect(quotient(12, 5)).toBeUndefined();
    expect(quotient(dimMul(dimMul(6, seq), batch), dimMul(2, seq))).toBe('3*batch');
    expect(quotient(dimAdd(dimMul(4, seq), 8), 4)).toBe('seq + 2');
    expect(quotient(dimAdd(dimMul(4, seq), 3), 4)).toBeUndefined();
    expect(quotient(batch, seq)).toBeUndefined();
    expect(quotient(dimMul(seq, seq), seq)).toBe('seq');
    expect(quotient(0, seq)).toBe('0');
    expect(quotient(4, 0)).toBeUndefined();
  });
  test('of anything by itself', () => {
    expect(quotient(dimAdd(past, seq), dimAdd(seq, past))).toBe('1');
  });
});

test('evaluation', () => {
  const total = dimAdd(dimMul(dimMul(2, batch), seq), dimSub(past, 1));
  expect(dimEval(total, { batch: 3, seq: 5, past: 7 })).toBe(36);
  expect(dimEval(4, {})).toBe(4);
  expect(() => dimEval(total, { batch: 3, seq: 5 })).toThrow('dimension past is not bound');
});

test('substitution', () => {
  const total = dimMul(batch, dimAdd(past, seq));
  const decode = dimSubstitute(total, new Map([['seq', dim(1)]]));
  expect(dimText(decode)).toBe('batch + batch*past');
  expect(dimSubstitute(total, new Map([['other', dim(1)]]))).toBe(total);
  expect(dimConst(dimSubstitute(decode, new Map([['batch', dim(2)], ['past', dim(3)]])))).toBe(8); // biome-ignore format: one row
});

test('declarations are checked', () => {
  for (const bad of [
    () => dimVar('a b', 0, 1),
    () => dimVar('x', 2, 1),
    () => dimVar('x', -1, 1),
    () => dimVar('x', 0, 1.5),
    () => dim(1.5),
    () => dimAdd(dimVar('x', 0, 1), dimVar('x', 0, 2)),
  ]) {
    expect(bad).toThrow(ModelcError);
  }
});
