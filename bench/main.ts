// `modelc bench`: plans the measurements, runs each in a process of its own (so that its peak memory is its own) between
// two probes of the machine, and prints the rows as a table or as JSON.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createCpuDevice } from '../backends/cpu/device.ts';
import { type Probe, probe } from '../backends/cpu/probe.ts';
import { ModelcError } from '../ir/error.ts';
import { checkpoint, scratch } from './checkpoint.ts';
import { cudaCompile } from './cuda-compile.ts';
import { measureGenerate, measureStart } from './measure.ts';
import { compileRow, generateRows, type Measured, type Row, type RowPlan, table, type Workload } from './row.ts';
import { type ShapeName, shapes, weightTypes } from './shapes.ts';

/** What a measuring process prints when it waits for the machine to be probed; a line of input lets it go on. */
const yourTurn = 'your turn';

export interface BenchOptions {
  readonly smoke?: boolean;
  readonly shape?: readonly string[];
  readonly dtype?: readonly string[];
  readonly only?: string;
  readonly reps?: number;
  readonly json?: boolean;
  /** Set in the measuring process: a RowPlan as JSON. */
  readonly row?: string;
}

export async function bench(workload: string | undefined, options: BenchOptions): Promise<void> {
  if (options.row !== undefined) {
    const plan = JSON.parse(options.row) as RowPlan;
    const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
    const turn = async () => {
      process.stdout.write(`${yourTurn}\n`);
      await input.next();
    };
    const measured = await (plan.workload === 'compile' ? measureStart(plan) : measureGenerate(plan, turn));
    process.stdout.write(`${JSON.stringify(measured)}\n`);
    process.stdin.destroy();
    return;
  }
  if (workload === 'cuda-compile') return cudaCompile(options);
  const rows: Row[] = [];
  for (const plan of plans(workload, options)) {
    if (process.stderr.isTTY) process.stderr.write(`${plan.workload} ${plan.shape} ${plan.dtype} ...\n`);
    const ready: RowPlan = { ...plan, folder: checkpoint(plan.shape, plan.dtype) };
    rows.push(...(plan.workload === 'compile' ? [startRow(ready)] : await speedRows(ready)));
  }
  if (rows.length === 0) throw new ModelcError('input', 'no measurement matches --only: try --only "llama1b f32"');
  process.stdout.write(`${options.json ? JSON.stringify(rows, null, 1) : table(rows)}\n`);
}

function choose<T extends string>(what: string, asked: readonly string[] | undefined, known: readonly T[]): T[] {
  for (const a of asked ?? []) {
    if (!(known as readonly string[]).includes(a)) {
      throw new ModelcError('input', `there is no ${what} '${a}' to measure: choose among ${known.join(', ')}`);
    }
  }
  return known.filter((k) => !asked || asked.includes(k));
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new ModelcError('input', `--only '${text}' is not a regular expression`, { cause: error });
  }
}

function* plans(workload: string | undefined, options: BenchOptions): Generator<Omit<RowPlan, 'folder'>> {
  const workloads = choose<Workload>('workload', workload === undefined ? undefined : [workload], [
    'generate',
    'compile',
  ]);
  const all = Object.keys(shapes) as ShapeName[];
  const usual = all.filter((s) => (s === 'tiny') === Boolean(options.smoke));
  const only = pattern(options.only ?? '');
  const length = options.smoke
    ? { promptTokens: 64, newTokens: 16, reps: options.reps ?? 1 }
    : { promptTokens: 512, newTokens: 128, reps: options.reps ?? 3 };
  for (const shape of options.shape ? choose('shape', options.shape, all) : usual) {
    for (const dtype of choose('dtype', options.dtype, weightTypes)) {
      for (const w of workloads)
        if (only.test(`${w} ${shape} ${dtype}`)) yield { workload: w, shape, dtype, ...length };
    }
  }
}

const failed = (plan: RowPlan): ModelcError =>
  new ModelcError('input', `measuring ${plan.workload} ${plan.shape} ${plan.dtype} failed: see the line above`);

function inProcess(plan: RowPlan, env: NodeJS.ProcessEnv): Measured {
  const child = spawnSync(process.execPath, [process.argv[1], 'bench', '--row', JSON.stringify(plan)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  });
  if (child.status !== 0) throw failed(plan);
  return JSON.parse(child.stdout) as Measured;
}

/** Repetitions in a process of their own, with a probe of the machine before, between and after them. */
async function speedRows(plan: RowPlan): Promise<Row[]> {
  const device = await createCpuDevice();
  inProcess({ ...plan, workload: 'compile' }, process.env); // compiles, so that what is measured is running
  const child = spawn(process.execPath, [process.argv[1], 'bench', '--row', JSON.stringify(plan)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const probes: Probe[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line !== yourTurn) return generateRows(plan, JSON.parse(line) as Measured, probes);
    probes.push(await probe(device));
    child.stdin.write('\n');
  }
  throw failed(plan);
}

/** Two starts with one cache folder: it is empty for the first. */
function startRow(plan: RowPlan): Row {
  mkdirSync(scratch(), { recursive: true });
  const cache = mkdtempSync(join(scratch(), 'cache-'));
  try {
    const env = { ...process.env, MODELC_CACHE: cache };
    return compileRow(plan, inProcess(plan, env), inProcess(plan, env));
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
}
