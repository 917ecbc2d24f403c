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

/** What a measuring process prints when it waits for the machine to be probed; a line of input lets it go on. */
const yourTurn = 'your turn';

/** The measuring process: measures what the plan (as JSON) says, and prints it. */
export async function answer(text: string): Promise<void> {
  const plan = JSON.parse(text) as RowPlan;
  const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const turn = async () => {
    process.stdout.write(`${yourTurn}\n`);
    await input.next();
  };
  const measured = await (plan.workload === 'compile' ? measureStart(plan) : measureGenerate(plan, turn));
  process.stdout.write(`${JSON.stringify(measured)}\n`);
  process.stdin.destroy();
}

/** The rows of a plan. Throws ModelcError 'input' when measuring fails, which the process has explained on stderr. */
export async function measureRows(plan: RowPlan, prober: Prober): Promise<Row[]> {
  if (process.stderr.isTTY) process.stderr.write(`${plan.workload} ${plan.shape} ${plan.dtype} ${plan.target} ...\n`);
  writeWeights(plan.shape, plan.dtype);
  return plan.workload === 'compile' ? [startRow(plan)] : speedRows(plan, prober);
}

const command = (plan: RowPlan): string[] => [process.argv[1], 'bench', '--row', JSON.stringify(plan)];
const failed = (plan: RowPlan): ModelcError =>
  new ModelcError(
    'input',
    `measuring ${plan.workload} ${plan.shape} ${plan.dtype} failed or took more than ${plan.limitMs / 1000} s: see the line above`,
  );

function inProcess(plan: RowPlan, env: NodeJS.ProcessEnv): Measured {
  const child = spawnSync(process.execPath, command(plan), {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
    timeout: plan.limitMs,
    killSignal: 'SIGKILL', // a process that waits for a driver hears nothing else
  });
  if (child.status !== 0) throw failed(plan);
  return JSON.parse(child.stdout) as Measured;
}

async function speedRows(plan: RowPlan, prober: Prober): Promise<Row[]> {
  inProcess({ ...plan, workload: 'compile' }, process.env); // compiles, so that what is measured is running
  const child = spawn(process.execPath, command(plan), { stdio: ['pipe', 'pipe', 'inherit'] });
  const limit = setTimeout(() => child.kill('SIGKILL'), plan.limitMs);
  const probes: Probe[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line !== yourTurn) {
      clearTimeout(limit);
      return generateRows(plan, JSON.parse(line) as Measured, probes);
    }
    probes.push(await prober.probe());
    child.stdin.write('\n');
  }
  clearTimeout(limit);
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
