// `modelc bench`: plans the measurements, makes them one after another, each between two probes of the machine, and prints
// the rows as a table or as JSON.
import { ModelcError } from '../ir/error.ts';
import { artifactSizes } from './artifact.ts';
import { cudaCompile } from './cuda-compile.ts';
import { gpuBench } from './gpu.ts';
import { measureLayers } from './layers.ts';
import { type BenchOptions, choose } from './options.ts';
import { openProber } from './prober.ts';
import { answer, measureRows, measureTraining } from './processes.ts';
import { aligned, type Row, type RowPlan, recordCells, table, type Workload } from './row.ts';
import { type ShapeName, shapeNames, weightTypes } from './shapes.ts';
import { computeTypes, type TrainPlan, type TrainRow, trainShapes } from './train.ts';

export async function bench(workload: string | undefined, options: BenchOptions): Promise<void> {
  if (options.row !== undefined) return answer(options.row);
  switch (workload) {
    case 'cuda-compile':
      return cudaCompile(options);
    case 'artifact':
      return artifactSizes(options);
    case 'train':
      return trainBench(options);
    case 'layers':
      return layerBench(options);
    case 'gpu':
      return gpuBench(options);
    default:
      return cpuBench(workload, options);
  }
}

async function trainBench(options: BenchOptions): Promise<void> {
  const known = Object.keys(trainShapes) as TrainPlan['shape'][];
  const shapes = choose('shape', options.shape ?? (options.smoke ? ['tiny'] : ['gpt2', 'char']), known);
  const prober = await openProber('cpu', false);
  const rows: TrainRow[] = [];
  for (const shape of shapes) {
    for (const dtype of choose('dtype', options.dtype, computeTypes)) {
      const plan = { workload: 'train', shape, dtype, steps: options.reps ?? (options.smoke ? 1 : 3) } as const;
      rows.push(
        await measureTraining(
          plan,
          prober,
          rows.find((r) => r.shape === shape && r.dtype === 'f32'),
        ),
      );
    }
  }
  printRecords(rows, options);
}

async function layerBench(options: BenchOptions): Promise<void> {
  const smoke = Boolean(options.smoke);
  printRecords(await measureLayers(options.reps ?? (smoke ? 1 : 5), smoke), options);
}

function printRecords(rows: readonly object[], options: BenchOptions): void {
  process.stdout.write(`${options.json ? JSON.stringify(rows, null, 1) : aligned(recordCells(rows)).join('\n')}\n`);
}

async function cpuBench(workload: string | undefined, options: BenchOptions): Promise<void> {
  const rows: Row[] = [];
  const prober = await openProber('cpu', false);
  for (const plan of plans(workload, options)) rows.push(...(await measureRows(plan, prober)));
  if (rows.length === 0) throw new ModelcError('input', 'no measurement matches --only: try --only "llama1b f32"');
  process.stdout.write(`${options.json ? JSON.stringify(rows, null, 1) : table(rows)}\n`);
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new ModelcError('input', `--only '${text}' is not a regular expression`, { cause: error });
  }
}

const usual: readonly ShapeName[] = ['smol135m', 'llama1b'];

function* plans(workload: string | undefined, options: BenchOptions): Generator<RowPlan> {
  const workloads = choose<Workload>('workload', workload === undefined ? undefined : [workload], [
    'generate',
    'compile',
  ]);
  const shapes = options.shape ? choose('shape', options.shape, shapeNames) : options.smoke ? ['tiny' as const] : usual;
  const only = pattern(options.only ?? '');
  const tokens = options.smoke ? 64 : 512;
  const common = {
    target: 'cpu',
    promptTokens: tokens,
    contextTokens: tokens,
    newTokens: options.smoke ? 16 : 128,
    reps: options.reps ?? (options.smoke ? 1 : 3),
    tolerance: 0.1, // a machine that others use too
    load: {},
    limitMs: 60 * 60_000,
    smoke: Boolean(options.smoke),
  } as const;
  for (const shape of shapes) {
    for (const dtype of choose('dtype', options.dtype, weightTypes)) {
      for (const w of workloads) {
        if (only.test(`${w} ${shape} ${dtype}`)) yield { ...common, workload: w, shape, dtype };
      }
    }
  }
}
