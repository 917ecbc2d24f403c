// What the productions of random graphs share.
import type { Dim } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import type { Builder, Value } from './random-builder.ts';

export type Production = (b: Builder) => Value | undefined;

export const shapeOf = (v: Value): readonly Dim[] => v.node.type.shape;
export const dtypeOf = (v: Value): DType => v.node.type.dtype;
export const last = (shape: readonly Dim[]): Dim => shape[shape.length - 1];
export const replaced = (shape: readonly Dim[], axis: number, d: Dim): Dim[] =>
  shape.map((old, i) => (i === axis ? d : old));
export const sameAs = (b: Builder, v: Value, wanted?: (w: Value) => boolean): Value =>
  b.like(dtypeOf(v), shapeOf(v), wanted);
export const constantLike = (b: Builder, value: number, v: Value): Value => b.filled(value, dtypeOf(v), shapeOf(v));
export const ranked = (b: Builder): Value => b.chooseFloat((v) => shapeOf(v).length > 0);
export const chooseRanked = (b: Builder): { x: Value; axis: number } | undefined => {
  const x = ranked(b);
  return shapeOf(x).length === 0 ? undefined : { x, axis: b.integer(0, shapeOf(x).length - 1) };
};
