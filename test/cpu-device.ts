// The CPU backend as a test device: a graph goes through the passes, fusion, kernels, the C compiler and the native
// runtime. Results are read back as arrays.
import { type CpuDevice, createCpuDevice } from '../backends/cpu/device.ts';
import { plan, separateOutputs } from '../backends/kernel/plan.ts';
import { dtypeInfo } from '../ir/dtype.ts';
import type { Graph } from '../ir/graph.ts';
import type { NdArray } from '../ir/ndarray.ts';
import type { PlanTensor, Program } from '../ir/program.ts';
import { fuse } from '../passes/fuse.ts';
import { passes, runPasses } from '../passes/pipeline.ts';
import { kernelComposites } from '../runtime/compiler.ts';
import { bytesOf, storeNumbers, viewNumbers } from '../runtime/host-tensor.ts';
import { evalShape } from '../runtime/plan-dims.ts';
import type { TestDevice } from './devices.ts';

export function lowerGraph(graph: Graph, device: CpuDevice): Program {
  const list = passes({ cache: { kind: 'dynamic', store: 'f32' }, bind: {}, keep: kernelComposites });
  const lowered = separateOutputs(runPasses(graph, device.target, list));
  return plan('test', new Map([['main', fuse(lowered)]]), new Map(), device.target);
}

export async function cpuDevice(): Promise<TestDevice> {
  const device = await createCpuDevice();
  return {
    name: `cpu ${device.target.features.join()}`,
    async run(graph, inputs, dims = {}) {
      const program = lowerGraph(graph, device);
      const loaded = await device.load(program);
      const upload = (t: PlanTensor, a: NdArray) => {
        const buffer = device.alloc(Math.max(64, a.data.length * dtypeInfo[t.dtype].bytes));
        device.write(buffer, bytesOf(storeNumbers(t.dtype, Array.from(a.data))));
        return buffer;
      };
      const { main } = program.entries;
      const bound = main.inputs.map((t, i) => upload(t, inputs[i]));
      const size = (t: PlanTensor) => evalShape(t.shape, dims).reduce((n, d) => n * d, 1);
      const results = main.results.map((t) => device.alloc(Math.max(64, size(t) * dtypeInfo[t.dtype].bytes)));
      try {
        await loaded.run('main', { weights: [], constants: [], states: [], inputs: bound, results }, dims);
        return await Promise.all(
          main.results.map(async (t, i) => {
            const bytes = await device.read(results[i], 0, size(t) * dtypeInfo[t.dtype].bytes);
            return { dtype: t.dtype, shape: evalShape(t.shape, dims), data: viewNumbers(t.dtype, bytes) };
          }),
        );
      } finally {
        for (const b of [...bound, ...results]) device.free(b);
        loaded.dispose();
      }
    },
  };
}
