// The reverse-mode rule of every op. The type asks for each: an op without a rule does not compile.
import type { OpName } from '../../node.ts';
import type { ControlAttrs, LeafAttrs, QuantizationAttrs, RandomAttrs } from '../attrs.ts';
import { collective } from './collective.ts';
import { composite } from './composite.ts';
import { contraction } from './contraction.ts';
import { elementwise } from './elementwise.ts';
import { indexing } from './indexing.ts';
import { reduction } from './reduction.ts';
import type { Vjp, VjpTable } from './rule.ts';
import { discrete } from './rule.ts';
import { shape } from './shape.ts';
import { state } from './state.ts';

/** Leaves have no arguments to pass a cotangent to. */
const leaf: VjpTable<LeafAttrs> = { param: () => [], const: () => [], iota: () => [], dim: () => [] };

const random: VjpTable<RandomAttrs> = { rng_bits: discrete };

const quantization: VjpTable<QuantizationAttrs> = {
  quantize: discrete,
  dequantize: { none: 'packed weights and their scales are not trained; train a LoRA adapter beside them' },
};

const control: VjpTable<ControlAttrs> = {
  fence: (_, c) => [c, null],
  stop_gradient: () => [null],
  /** A loss that gradients of another loss flow into is differentiated after those were put in place. */
  gradient: { none: 'it is replaced before what is computed from it is differentiated' },
  mark: (_, c) => [c],
};

const vjps: { readonly [O in OpName]: Vjp<O> } = {
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

/** The rule of an op, for callers that hold a node of unknown op. */
export const vjpOf = (name: OpName): Vjp<OpName> => vjps[name] as unknown as Vjp<OpName>;
