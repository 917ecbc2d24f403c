// `modelc bench cuda-compile`: how long the kernels of an 8B model take to compile for a GPU, from the model's config alone:
// tracing, passes and kernels, printing, and nvcc with an empty and with a filled cache. Needs nvcc, but no GPU.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { buildProgram } from '../backends/cuda/device.ts';
import { printProgram } from '../backends/cuda/print.ts';
import { architectures, cudaTarget } from '../backends/cuda/target.ts';
import { fittedModel, weightResolver } from '../frontends/huggingface/index.ts';
import type { Program } from '../ir/program.ts';
import { compile } from '../runtime/compiler/compile.ts';
import { devices } from '../runtime/execution/devices.ts';
import { checkpoint, scratch } from './checkpoint.ts';

export interface CudaCompileRow {
  readonly target: string;
  readonly kernels: number;
  /** Launches of a decoding step. */
  readonly launches: number;
  readonly graph_ms: number;
  readonly print_ms: number;
  readonly cold_ms: number;
  /** Processor time of all of graph, printing and nvcc, its processes included: what a busy machine does not change. */
  readonly cpu_ms: number | null;
  readonly warm_ms: number;
  /** Processor time of `warm_ms`. */
  readonly warm_cpu_ms: number;
  readonly code_kb: number;
}

export async function cudaCompile({ json }: { readonly json?: boolean }): Promise<void> {
  const rows: CudaCompileRow[] = [];
  for (const { name } of architectures) rows.push(await measure(name));
  if (json) process.stdout.write(`${JSON.stringify(rows, null, 1)}\n`);
  else {
    for (const r of rows) {
      process.stdout.write(
        `llama8b ${r.target}: graph to kernels ${r.graph_ms} ms, print ${r.print_ms} ms, nvcc cold ${r.cold_ms} ms, ` +
          `warm ${r.warm_ms} ms; of processor ${r.cpu_ms ?? '?'} ms cold in all, ${r.warm_cpu_ms} ms warm; ${r.kernels} kernels, ${r.launches} launches a decoding step, ${r.code_kb} KB\n`,
      );
    }
  }
}

async function measure(name: (typeof architectures)[number]['name']): Promise<CudaCompileRow> {
  mkdirSync(scratch(), { recursive: true });
  const cache = mkdtempSync(join(scratch(), 'cache-'));
  const kept = process.env.MODELC_CACHE;
  process.env.MODELC_CACHE = cache;
  try {
    const [started, cpu] = [performance.now(), cpuMs()];
    const program = programFor(name);
    const compiled = performance.now();
    printProgram(program);
    const printed = performance.now();
    await buildProgram(program);
    const [cold, used] = [performance.now(), cpuMs()];
    const before = process.cpuUsage();
    const binary = await buildProgram(program);
    const warm = performance.now();
    const { user, system } = process.cpuUsage(before); // nothing is started
    return {
      target: name,
      kernels: program.kernels.length,
      launches: program.entries.decode.steps.reduce((n, step) => n + step.parts.length, 0),
      graph_ms: Math.round(compiled - started),
      print_ms: Math.round(printed - compiled),
      cold_ms: Math.round(cold - printed),
      cpu_ms: cpu === undefined || used === undefined ? null : Math.round(used - cpu),
      warm_ms: Math.round(warm - cold),
      warm_cpu_ms: Math.round((user + system) / 1000),
      code_kb: Math.round(statSync(binary).size / 1024),
    };
  } finally {
    if (kept === undefined) delete process.env.MODELC_CACHE;
    else process.env.MODELC_CACHE = kept;
    rmSync(cache, { recursive: true, force: true });
  }
}

/** Processor milliseconds of this process and of those that it started and that have ended; Linux only. */
function cpuMs(): number | undefined {
  try {
    // After the name, which may hold spaces: the 12th to 15th field are ticks of a hundredth of a second
    const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ');
    return fields.slice(11, 15).reduce((sum, ticks) => sum + 10 * Number(ticks), 0);
  } catch {
    return undefined;
  }
}

function programFor(name: (typeof architectures)[number]['name']): Program {
  const model = fittedModel(checkpoint('llama8b', 'bf16'), 'causal-lm');
  const limits = { batch: 8, length: 2048, chunk: 512 };
  const weights = weightResolver(model.checkpoint);
  const entries = Object.fromEntries(devices.cuda.entries.map((e) => [e, model.trace(e, limits, weights)]));
  return compile('llama8b', entries, cudaTarget(name));
}
