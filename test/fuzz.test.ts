// Differential fuzz: random graphs (random-graph.ts) against the interpreter. What is compared with `evaluate` of the
// graph as generated: the graph with all composites decomposed, and every device that this machine has. FUZZ_SECONDS is
// the time budget (10 s, 60 s in CI), FUZZ_SEED the first seed; a failure names the seed that repeats it.
import { afterAll, expect, test } from 'vitest';
import type { DType } from '../ir/dtype.ts';
import { evaluate } from '../ir/eval.ts';
import { type Graph, isOp, type Node, roots, topologicalOrder } from '../ir/graph.ts';
import type { NdArray } from '../ir/ndarray.ts';
import { opNames, opOf } from '../ir/ops/index.ts';
import { rewrite } from '../ir/rewrite.ts';
import { printGraph } from '../ir/text.ts';
import { verify } from '../ir/verify.ts';
import { difference, toleranceOf } from './compare.ts';
import { devices } from './devices.ts';
import { type RandomGraph, randomGraph } from './random-graph.ts';

const seconds = Number(process.env.FUZZ_SECONDS ?? (process.env.CI === 'true' ? 60 : 10));
const firstSeed = Number(process.env.FUZZ_SEED ?? 1);

const decomposing = Object.fromEntries(
  opNames.filter((op) => opOf(op).decompose).map((op) => [op, (node: Node) => opOf(op).decompose!(node)]),
);

/** Runs of a graph: the interpreter on its decomposition, and the devices. */
type Runner = { readonly name: string; run(random: RandomGraph): Promise<readonly NdArray[]> };

const run = (graph: Graph, { inputs, dims }: RandomGraph): NdArray[] => {
  const params = new Map(graph.params.map((p) => [p.attrs.name, inputs[randomIndex(p)]]));
  return [...evaluate(graph, { params, dims }).results.values()];
};
const randomIndex = (param: Node<'param'>): number => Number(param.attrs.name.slice(1));

const { present, missing } = await devices();
const runners: Runner[] = [
  { name: 'decomposition', run: async (random) => run(rewrite(random.graph, decomposing), random) },
  ...present.map(
    (device): Runner => ({
      name: device.name,
      run: ({ graph, inputs, dims }) => device.run(graph, inputs, dims),
    }),
  ),
];

/** Kinds of value that rounding went through; composites compute in f32 whatever their dtype. */
const dtypesOf = (graph: Graph): Set<DType> =>
  new Set(topologicalOrder(roots(graph)).flatMap((n) => (isOp(n, 'param') ? [] : [n.type.dtype])));

let tried = 0;
afterAll(() => {
  for (const { name, why } of missing) console.warn(`fuzz: device ${name} is not here: ${why}`);
  console.log(`fuzz: ${tried} graphs from seed ${firstSeed} on ${runners.map((r) => r.name).join(', ')}`);
});

test('random graphs agree with the interpreter everywhere', { timeout: seconds * 1000 + 120_000 }, async () => {
  const end = Date.now() + seconds * 1000;
  for (let seed = firstSeed; Date.now() < end || seed === firstSeed; seed++) {
    tried++;
    const random = randomGraph(seed);
    const { graph } = random;
    const problem = await check(random).catch((error) =>
      error instanceof Error ? (error.stack ?? error.message) : String(error),
    );
    if (problem) expect.fail(`seed ${seed}: ${problem}\n${printGraph(graph)}`);
  }
});

/** The first disagreement about a graph. */
async function check(random: RandomGraph): Promise<string | undefined> {
  const { graph } = random;
  verify(graph);
  const expected = run(graph, random);
  const tolerance = toleranceOf(dtypesOf(graph));
  const names = [...graph.results.keys()];
  for (const runner of runners) {
    const actual = await runner.run(random);
    for (const [i, value] of expected.entries()) {
      const isReal = value.dtype === 'f32' || value.dtype === 'f16' || value.dtype === 'bf16';
      const why = difference(actual[i], value, isReal ? tolerance : 0);
      if (why) return `on ${runner.name}, ${names[i]} ${why}`;
    }
  }
  return undefined;
}
