// Every WGSL module that the tests make: of the op cases, the kernel cases, random graphs, and the programs of models, for
// one target.
import { plan } from '../../../backends/kernel/plan.ts';
import { printProgram } from '../../../backends/webgpu/print.ts';
import { ModelcError } from '../../../ir/error.ts';
import type { Graph } from '../../../ir/graph.ts';
import type { Program } from '../../../ir/program.ts';
import type { Target } from '../../../ir/target.ts';
import { regionsOf } from '../../support/cpu-device.ts';
import { sizedPrograms, smallPrograms } from '../../support/model-programs.ts';
import { build, cases } from '../../support/op-cases.ts';
import { randomGraph } from '../../support/random-graph.ts';
import { groups } from '../kernels/index.ts';

/** Text of a module, and the first graph that has it. */
export interface Source {
  readonly from: string;
  readonly code: string;
}

const seeds = 100;

/** The modules of a target, each text once; with `some`, those of op cases, random graphs and most sizes are left out. */
export async function sources(target: Target, kinds: 'some' | 'all'): Promise<Source[]> {
  const found = new Map<string, string>();
  const add = (from: string, program: Program): void => {
    for (const text of printProgram(program)) {
      const code = text.slice(text.indexOf('\n') + 1); // the first line is the kernel's name
      if (!found.has(code)) found.set(code, from);
    }
  };
  const addGraph = (from: string, graph: Graph): void => {
    try {
      add(from, plan('test', new Map([['main', regionsOf(graph, target)]]), new Map(), target));
    } catch (error) {
      // ops without kernels: ops.test.ts lists them
      if (!(error instanceof ModelcError && error.code === 'unsupported')) throw error;
    }
  };

  if (kinds === 'all') {
    for (const c of cases) addGraph(`op case ${c.op}: ${c.name}`, build(c).graph);
    for (let seed = 1; seed <= seeds; seed++) addGraph(`random graph ${seed}`, randomGraph(seed).graph);
  }
  for (const [group, list] of Object.entries(groups)) for (const c of list) addGraph(`${group}: ${c.name}`, c.graph);
  for await (const { from, program } of smallPrograms()) add(from, program(target));
  for (const { from, program } of sizedPrograms(kinds === 'all' ? undefined : ['smol135m'])) {
    add(from, program(target));
  }
  return [...found].map(([code, from]) => ({ code, from }));
}
