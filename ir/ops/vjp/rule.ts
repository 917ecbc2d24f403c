// What a reverse-mode rule is.
import type { Node, OpName } from '../../node.ts';

/** Why an op has no derivative. */
export interface NoDerivative {
  readonly none: string;
}

/**
 * How a cotangent passes through an op. A function gives the cotangent of each argument from that of the result, built
 * from other ops; null where the argument is not made of floats, or the result moves with it in jumps alone.
 * 'decompose': as through the decomposition of the op.
 */
export type Vjp<O extends OpName> =
  | ((node: Node<O>, cotangent: Node) => readonly (Node | null)[])
  | 'decompose'
  | NoDerivative;

export type VjpTable<Family> = { readonly [O in keyof Family & OpName]: Vjp<O> };

/** Of ops whose result is not made of floats: no cotangent ever arrives. */
export const discrete: NoDerivative = { none: 'its result is not made of floats' };
