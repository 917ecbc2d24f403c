// All cases of test/support/cases/*.ts, and each as a graph of one op.
import { readdirSync } from 'node:fs';
import { dim } from '../../ir/dim.ts';
import type { Graph } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import type { Attrs } from '../../ir/ops/attrs.ts';
import type { Case, FailingCase } from './cases/case.ts';

interface CaseFile {
  readonly cases: readonly Case[];
  readonly failing: readonly FailingCase[];
}

const folder = new URL('./cases/', import.meta.url);
const families = readdirSync(folder).filter((name) => name.endsWith('.ts') && name !== 'case.ts');
const files = await Promise.all(families.map((name): Promise<CaseFile> => import(new URL(name, folder).href)));
export const cases = files.flatMap((file) => file.cases);
export const failing = files.flatMap((file) => file.failing);

export interface Built {
  readonly node: Node;
  readonly graph: Graph;
}

/** The case as a graph of one op. */
export function build(c: Case): Built {
  const params = c.args.map((x, i) =>
    make('param', [], {
      name: `p${i}`,
      kind: 'input',
      dtype: x.dtype,
      shape: c.shapes?.[i] ?? x.shape.map((d) => dim(d)),
    }),
  );
  const node = c.op === 'param' ? params[0] : make(c.op, c.leaf ? [] : params, c.attrs as Attrs[typeof c.op]);
  return { node, graph: { name: 'case', params, results: new Map([['result', node]]), updates: new Map() } };
}

export const paramsOf = (c: Case): Map<string, NdArray> => new Map(c.args.map((x, i) => [`p${i}`, x]));
