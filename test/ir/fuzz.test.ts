// Differential fuzz: random graphs (random-graph.ts) against the interpreter. What is compared with `evaluate` of the
// graph as generated: the graph with all composites decomposed, and every device that this machine has. FUZZ_SECONDS is
// the time budget (10 s, 60 s in CI), FUZZ_SEED the first seed; a failure names the seed that repeats it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type DType, isFloat } from '../../ir/dtype.ts';
import { evaluate } from '../../ir/eval.ts';
import { type Graph, roots, topologicalOrder } from '../../ir/graph.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import { isOp } from '../../ir/node.ts';
import { decomposable, decompositionOf } from '../../ir/ops/decompose/index.ts';
import { rewrite } from '../../ir/rewrite.ts';
import { printGraph } from '../../ir/text.ts';
import { verify } from '../../ir/verify.ts';
import { difference, toleranceOf } from '../support/compare.ts';
import { devices } from '../support/devices.ts';
import { type RandomGraph, randomGraph } from '../support/random-graph.ts';

const seconds = Number(process.env.FUZZ_SECONDS ?? (process.env.CI === 'true' ? 60 : 10));
const firstSeed = Number(process.env.FUZZ_SEED ?? 1);

const decomposing = Object.fromEntries(decomposable.map((op) => [op, decompositionOf(op)]));

/** A graph that is run, and what must come out. */
interface Subject {
  readonly random: RandomGraph;
  readonly params: ReadonlyMap<string, NdArray>;
  readonly expected: readonly NdArray[];
}

/** Graphs of one native build. */
const batchSize = 20;

/** Other ways to the same results: the interpreter on the decomposition, and the devices. */
interface Runner {
  readonly name: string;
  run(subjects: readonly Subject[], build: 'full' | 'quick'): Promise<readonly (readonly NdArray[] | Error)[]>;
}

const run = (graph: Graph, params: ReadonlyMap<string, NdArray>, { dims }: RandomGraph): NdArray[] => [
  ...evaluate(graph, { params, dims }).results.values(),
];

// Every build is used once: they are not kept.
const cache = mkdtempSync(join(tmpdir(), 'modelc-fuzz-'));
process.env.MODELC_CACHE = cache;
afterAll(() => rmSync(cache, { recursive: true, force: true }));

const { present, missing } = await devices();
const runners: Runner[] = [
  {
    name: 'decomposition',
    run: async (subjects) =>
      subjects.map(({ random, params }) => run(rewrite(random.graph, decomposing), params, random)),
  },
  ...present.map(
    (device): Runner => ({
      name: device.name,
      async run(subjects, build) {
        // A device that keeps fewer bits of an i64 runs what has none.
        const served = subjects.filter(({ random }) => device.longBits === undefined || !hasLong(random.graph));
        const runs = served.map(({ random, params }) => ({ graph: random.graph, params, dims: random.dims }));
        const results = await device.run(runs, build);
        const bySubject = new Map(served.map((subject, i) => [subject, results[i]]));
        return subjects.map((subject) => {
          const r = bySubject.get(subject);
          return r === undefined ? subject.expected : r instanceof Error ? r : [...r.results.values()];
        });
      },
    }),
  ),
];

/** Kinds of value that rounding went through; composites compute in f32 whatever their dtype. */
const dtypesOf = (graph: Graph): Set<DType> =>
  new Set(topologicalOrder(roots(graph)).flatMap((n) => (isOp(n, 'param') ? [] : [n.type.dtype])));

const hasLong = (graph: Graph): boolean =>
  topologicalOrder([...roots(graph), ...graph.params]).some((n) => n.type.dtype === 'i64');

let tried = 0;
afterAll(() => {
  for (const { name, why } of missing) console.warn(`fuzz: device ${name} is not here: ${why}`);
  console.log(`fuzz: ${tried} graphs from seed ${firstSeed} on ${runners.map((r) => r.name).join(', ')}`);
});

test('random graphs agree with the interpreter everywhere', { timeout: seconds * 1000 + 240_000 }, async () => {
  const end = Date.now() + seconds * 1000;
  for (let n = 0; Date.now() < end || n === 0; n++) {
    const subjects = Array.from({ length: batchSize }, (_, i) => subjectOf(firstSeed + tried + i));
    for (const runner of runners) {
      const problem = await firstProblem(runner, subjects, n % 4 === 0 ? 'full' : 'quick');
      if (problem) expect.fail(problem);
    }
    tried += batchSize;
  }
});

function subjectOf(seed: number): Subject {
  const random = randomGraph(seed);
  verify(random.graph);
  const params = new Map(random.graph.params.map((p, i) => [p.attrs.name, random.inputs[i]]));
  return { random, params, expected: run(random.graph, params, random) };
}

/** The first disagreement of a runner; a batch that cannot be run at all is searched for a graph that cannot. */
async function firstProblem(
  runner: Runner,
  subjects: readonly Subject[],
  build: 'full' | 'quick',
): Promise<string | undefined> {
  let results: readonly (readonly NdArray[] | Error)[];
  try {
    results = await runner.run(subjects, build);
  } catch (error) {
    const half = subjects.length >> 1;
    const inHalf = half > 0 ? await firstProblem(runner, subjects.slice(0, half), build) : undefined;
    const inOther = half > 0 && !inHalf ? await firstProblem(runner, subjects.slice(half), build) : undefined;
    return inHalf ?? inOther ?? describe(subjects[0], runner, textOf(error));
  }
  for (const [i, result] of results.entries()) {
    const why = result instanceof Error ? textOf(result) : disagreement(subjects[i], result);
    if (why) return describe(subjects[i], runner, why);
  }
  return undefined;
}

const textOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));
const describe = ({ random }: Subject, runner: Runner, why: string): string =>
  `seed ${random.seed} on ${runner.name}: ${why}\n${printGraph(random.graph)}`;

function disagreement({ random: { graph }, expected }: Subject, actual: readonly NdArray[]): string | undefined {
  const tolerance = toleranceOf(dtypesOf(graph));
  const names = [...graph.results.keys()];
  for (const [i, value] of expected.entries()) {
    const why = difference(actual[i], value, isFloat(value.dtype) ? tolerance : 0);
    if (why) return `${names[i]} ${why}`;
  }
  return undefined;
}
