// `modelc bench gpu`: decoding at batch 1, prefill, compilation and start of models of random bf16 weights on a GPU, each
// beside what the GPU reads and multiplies at best in the same minutes; then, where Python with torch and transformers is
// there, the same shapes through their `generate`. With --smoke a tiny shape on an emulated CUDA device, to see that all of
// this works.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BackendName, backendNames } from '../backends/index.ts';
import { ModelcError } from '../ir/error.ts';
import { emulate } from './emulation.ts';
import { type BenchOptions, choose } from './options.ts';
import { type PeerResult, peerResult, peerTable } from './peers.ts';
import { openProber, type Probe } from './prober.ts';
import { measureRows } from './processes.ts';
import { cells, type Row, type RowPlan, table } from './row.ts';
import { type ShapeName, shapeNames } from './shapes.ts';

const usual: readonly ShapeName[] = ['llama1b', 'llama8b', 'gemma2b'];
/** All of it: a lent machine has to be given back. */
const wholeMs = 8 * 60_000;
const emulation = 'EMULATION, no GPU: the numbers show that the benchmark works; its times mean nothing';
const tiny = 'SMOKE RUN, tiny model and probes: the numbers show that the benchmark works; its times mean nothing';

interface Report {
  readonly device: string;
  readonly target: BackendName;
  readonly date: string;
  readonly node: string;
  /** Set when the numbers are not those of a model on a GPU. */
  readonly caveat?: string;
  /** Before and after everything. */
  readonly probes: Probe[];
  readonly rows: Row[];
  readonly peers: PeerResult[];
  readonly failures: string[];
}

export async function gpuBench(options: BenchOptions): Promise<void> {
  const target = choose('target', [options.target ?? 'cuda'], backendNames)[0];
  if (target === 'cpu')
    throw new ModelcError('input', "the workload gpu measures 'cuda' or 'webgpu'; name one of them");
  const smoke = Boolean(options.smoke);
  const emulated = smoke && target === 'cuda';
  if (emulated) await emulate();
  const prober = await openProber(target, smoke);
  const report: Report = {
    device: prober.device,
    target,
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    ...(smoke ? { caveat: emulated ? emulation : tiny } : {}),
    probes: [await prober.probe()],
    rows: [],
    peers: [],
    failures: [],
  };
  const shapes = options.shape ? choose('shape', options.shape, shapeNames) : smoke ? ['tiny' as const] : usual;
  const keep = (): void => (options.save ? save(report) : undefined);
  for (const shape of shapes) {
    for (const workload of ['compile', 'generate'] as const) {
      const plan = planOf(workload, shape, target, options);
      try {
        report.rows.push(...(await measureRows(plan, prober)));
      } catch (error) {
        if (!(error instanceof ModelcError)) throw error;
        report.failures.push(error.message);
      }
      keep();
    }
  }
  if (target === 'cuda' && !emulated && options.peers !== false) {
    for (const shape of shapes) {
      report.peers.push(peerResult(planOf('generate', shape, target, options), wholeMs - performance.now()));
      keep();
    }
  }
  report.probes.push(await prober.probe());
  keep();
  process.stdout.write(`${options.json ? JSON.stringify(report, null, 1) : text(report)}\n`);
  if (report.failures.length > 0) process.exitCode = 1;
}

/** One row of sequences, and prompts of 2048 tokens in one run. */
const load = { max_batch: 1, max_cache_len: 4096, chunk: 2048 } as const;

const planOf = (
  workload: RowPlan['workload'],
  shape: ShapeName,
  target: BackendName,
  { smoke, reps }: BenchOptions,
): RowPlan => ({
  workload,
  shape,
  dtype: 'bf16',
  target,
  promptTokens: smoke ? 32 : 2048,
  contextTokens: smoke ? 16 : 128,
  newTokens: smoke ? 4 : 256,
  reps: reps ?? (smoke ? 2 : 5),
  tolerance: 0.03,
  load,
  limitMs: 120_000,
  smoke: Boolean(smoke),
});

const round = (v: number): number => Math.round(v / 1e9);
const probeText = (p: Probe): string =>
  `reads ${round(p.readBytesPerSecond)} GB/s, ${round(p.flopsPerSecond)} f32 GFLOP/s` +
  (p.matrixFlopsPerSecond === undefined ? '' : `, ${round(p.matrixFlopsPerSecond)} bf16 matrix GFLOP/s`);

function text(report: Report): string {
  return [
    ...(report.caveat ? [report.caveat] : []),
    `${report.device} (${report.target}), ${report.date}`,
    ...report.probes.map((p, i) => `probe ${i === 0 ? 'before' : 'after'}: ${probeText(p)}`),
    table(report.rows),
    ...(report.peers.length > 0 ? [peerTable(report.peers)] : []),
    ...report.failures,
    ...(report.caveat ? [report.caveat] : []),
  ].join('\n');
}

/** Writes the report to bench/results, under the name of the device. */
function save(report: Report): void {
  const name = report.device.replace(/[^A-Za-z0-9]+/g, '-').toLowerCase();
  const folder = join('bench', 'results');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(report, null, 1)}\n`);
  const [head, ...rows] = cells(report.rows);
  const line = (row: readonly string[]): string => `| ${row.join(' | ')} |`;
  const page = [
    `# ${report.device}, ${report.date}`,
    ...(report.caveat ? [report.caveat] : []),
    ...report.probes.map((p) => `- ${probeText(p)}`),
    [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n'),
    ...report.peers.map(({ shape, note, decode, prefill }) =>
      note ? `${shape}, ${note}` : `${shape} by transformers: decode ${decode} tokens/s, prefill ${prefill} tokens/s.`,
    ),
    ...report.failures,
  ];
  writeFileSync(join(folder, `${name}.md`), `${page.join('\n\n')}\n`);
}
