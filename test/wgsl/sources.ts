// Every WGSL module that the tests make: of the op cases, the kernel cases, random graphs, and the families and sizes of
// models, for one target. Models of real sizes are compiled from their configurations: there are no weights in the text.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { plan } from '../../backends/kernel/plan.ts';
import { printProgram } from '../../backends/webgpu/print.ts';
import { checkpoint } from '../../bench/checkpoint.ts';
import { type ShapeName, shapeNames } from '../../bench/shapes.ts';
import type { Checkpoint } from '../../frontends/huggingface/index.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Graph } from '../../ir/graph.ts';
import type { Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import { compile } from '../../runtime/compiler.ts';
import { fitChunk, modelOf, type OpenedModel, openModel } from '../../runtime/models.ts';
import { regionsOf } from '../cpu-device.ts';
import { material } from '../golden.ts';
import { groups } from '../kernels/index.ts';
import { build, cases } from '../op-cases.ts';
import { randomGraph } from '../random-graph.ts';

/** Text of a module, and the first graph that has it. */
export interface Source {
  readonly from: string;
  readonly code: string;
}

const seeds = 100;
const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
const golden = ['llama', 'llama_rope_scaled', 'mistral', 'qwen2', 'gemma', 'granite'];
const entries = ['prefill', 'decode', 'forward'];

/** The checkpoint of a size, its weights of another type; the file of it need not exist. */
function outline(name: ShapeName, dtype: DType): Checkpoint {
  const whole = checkpoint(name, 'bf16');
  return { ...whole, tensors: new Map([...whole.tensors].map(([tensor, t]) => [tensor, { ...t, dtype }])) };
}

/** The modules of a target, each text once; of all, or of kernel cases and a few models. */
export async function sources(target: Target, kinds: 'some' | 'all'): Promise<Source[]> {
  const found = new Map<string, string>();
  const add = (from: string, program: () => Program): void => {
    let texts: string[];
    try {
      texts = printProgram(program());
    } catch (error) {
      if (error instanceof ModelcError && error.code === 'unsupported') return; // ops without kernels: ops.test.ts lists them
      throw error;
    }
    for (const text of texts) {
      const code = text.slice(text.indexOf('\n') + 1); // the first line is the kernel's name
      if (!found.has(code)) found.set(code, from);
    }
  };
  const addGraph = (from: string, graph: Graph): void =>
    add(from, () => plan('test', new Map([['main', regionsOf(graph, target)]]), new Map(), target));
  const addModel = (from: string, opened: OpenedModel, names: readonly string[]): void => {
    const { trace, cache } = fitChunk(opened, target);
    const traced = Object.fromEntries(names.map((e) => [e, trace(e)]));
    add(from, () => compile('test', traced, target, { cache }));
  };

  if (kinds === 'all') {
    for (const c of cases) addGraph(`op case ${c.op}: ${c.name}`, build(c).graph);
    for (let seed = 1; seed <= seeds; seed++) addGraph(`random graph ${seed}`, randomGraph(seed).graph);
  }
  for (const [group, list] of Object.entries(groups)) for (const c of list) addGraph(`${group}: ${c.name}`, c.graph);
  for (const cache_implementation of ['dynamic', 'static'] as const) {
    addModel('tiny-llama', await openModel(example, { cache_implementation }), entries);
  }
  for (const family of kinds === 'all' ? golden : []) {
    const folder = join(material, 'hf-golden', family);
    if (existsSync(folder)) addModel(family, await openModel(folder), entries);
  }
  for (const name of kinds === 'all' ? shapeNames : (['smol135m'] as const)) {
    for (const dtype of ['f32', 'bf16', 'f16'] as const) {
      addModel(`${name} ${dtype}`, modelOf(outline(name, dtype)), ['prefill', 'decode']);
    }
  }
  return [...found].map(([code, from]) => ({ code, from }));
}
