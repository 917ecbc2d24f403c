// Measurements run in processes of their own, so that their memory and their starts are their own. A process that
// generates stops before, between and after its repetitions, and this one probes the device meanwhile.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ModelcError } from '../ir/error.ts';
import { scratch, writeWeights } from './checkpoint.ts';
import { measureGenerate, measureStart } from './measure.ts';
import type { Probe, Prober } from './prober.ts';
import { compileRow, generateRows, type Measured, type Row, type RowPlan } from './row.ts';
import { measureTrain, type TrainMeasured, type TrainPlan, type TrainRow, trainRow } from './train.ts';

/** What a measuring process prints when it waits for the machine to be probed; a line of input lets it go on. */
const yourTurn = 'your turn';

/** The measuring process: measures what the plan (as JSON) says, and prints it. */
export async function answer(text: string): Promise<void> {
  const plan = JSON.parse(text) as RowPlan | TrainPlan;
  const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const turn = async () => {
    process.stdout.write(`${yourTurn}\n`);
    await input.next();
  };
  try {
    process.stdout.write(`${JSON.stringify(await measure(plan, turn))}\n`);
  } finally {
    process.stdin.destroy(); // nothing keeps the process from ending
  }
}

function measure(plan: RowPlan | TrainPlan, turn: () => Promise<void>): Promise<Measured | TrainMeasured> {
  if (plan.workload === 'train') return measureTrain(plan, turn);
  return plan.workload === 'compile' ? measureStart(plan) : measureGenerate(plan, turn);
}

/** The row of a training; `f32` is that of the same training in f32. */
export async function measureTraining(plan: TrainPlan, prober: Prober, f32?: TrainRow): Promise<TrainRow> {
  if (process.stderr.isTTY) process.stderr.write(`${plan.workload} ${plan.shape} ${plan.dtype} ...\n`);
  const { measured, probes } = await inTurns(plan, 60 * 60_000, prober);
  return trainRow(plan, measured as TrainMeasured, probes, f32);
}

/** The rows of a plan. Throws ModelcError 'input' when measuring fails, which the process has explained on stderr. */
export async function measureRows(plan: RowPlan, prober: Prober): Promise<Row[]> {
  if (process.stderr.isTTY) process.stderr.write(`${plan.workload} ${plan.shape} ${plan.dtype} ${plan.target} ...\n`);
  writeWeights(plan.shape, plan.dtype);
  return plan.workload === 'compile' ? [startRow(plan)] : speedRows(plan, prober);
}

const command = (plan: RowPlan | TrainPlan): string[] => [process.argv[1], 'bench', '--row', JSON.stringify(plan)];
const failed = (plan: RowPlan | TrainPlan, limitMs: number): ModelcError =>
  new ModelcError(
    'input',
    `measuring ${plan.workload} ${plan.shape} ${plan.dtype} failed or took more than ${limitMs / 1000} s: see the line above`,
  );

function inProcess(plan: RowPlan, env: NodeJS.ProcessEnv): Measured {
  const child = spawnSync(process.execPath, command(plan), {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
    timeout: plan.limitMs,
    killSignal: 'SIGKILL', // a process that waits for a driver hears nothing else
  });
  if (child.status !== 0) throw failed(plan, plan.limitMs);
  return JSON.parse(child.stdout) as Measured;
}

async function speedRows(plan: RowPlan, prober: Prober): Promise<Row[]> {
  inProcess({ ...plan, workload: 'compile' }, process.env); // compiles, so that what is measured is running
  const { measured, probes } = await inTurns(plan, plan.limitMs, prober);
  return generateRows(plan, measured as Measured, probes);
}

/** What a process measures that lets this one probe the device before, between and after its repetitions. */
async function inTurns(
  plan: RowPlan | TrainPlan,
  limitMs: number,
  prober: Prober,
): Promise<{ readonly measured: unknown; readonly probes: readonly Probe[] }> {
  const child = spawn(process.execPath, command(plan), { stdio: ['pipe', 'pipe', 'inherit'] });
  const limit = setTimeout(() => child.kill('SIGKILL'), limitMs);
  const probes: Probe[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line !== yourTurn) {
      clearTimeout(limit);
      return { measured: JSON.parse(line) as unknown, probes };
    }
    probes.push(await prober.probe());
    child.stdin.write('\n');
  }
  clearTimeout(limit);
  throw failed(plan, limitMs);
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
