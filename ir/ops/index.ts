// The table of all ops. Adding one: its attributes in attrs.ts, its record in the family's file, its reverse-mode rule in vjp/
// and, if it is a composite, its decomposition in decompose/. The types ask for each.
import type { OpName } from '../node.ts';
import { collective } from './collective.ts';
import { composite } from './composite.ts';
import { contraction } from './contraction.ts';
import { control } from './control.ts';
import { elementwise } from './elementwise.ts';
import { indexing } from './indexing.ts';
import { leaf } from './leaf.ts';
import type { Op } from './op.ts';
import { quantization } from './quantization.ts';
import { random } from './random.ts';
import { reduction } from './reduction.ts';
import { shape } from './shape.ts';
import { state } from './state.ts';

export const ops: { readonly [O in OpName]: Op<O> } = {
  ...leaf,
  ...elementwise,
  ...shape,
  ...contraction,
  ...reduction,
  ...indexing,
  ...random,
  ...quantization,
  ...state,
  ...collective,
  ...control,
  ...composite,
};

/** The record of an op, for callers that hold a node of unknown op. */
export const opOf = (name: OpName): Op<OpName> => ops[name] as unknown as Op<OpName>;
export const opNames = Object.keys(ops) as OpName[];
