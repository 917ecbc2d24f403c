// The cuda part of an artifact: a program and device code for every architecture, and the prebuilt binding to the driver.
import { buildBinding, buildProgram } from '../../backends/cuda/device.ts';
import { printProgram } from '../../backends/cuda/print.ts';
import { architectures, cudaTarget } from '../../backends/cuda/target.ts';
import { fixedBytes } from '../execution/planned-memory.ts';
import { type AnyTargetPart, leastStateBytes } from './format.ts';
import { hostRequires } from './host.ts';
import type { WriteJob } from './write-job.ts';
import { writeNative } from './write-native.ts';

export const writeCuda = (job: WriteJob): Promise<AnyTargetPart> =>
  writeNative(job, {
    target: 'cuda',
    runtime: { name: 'driver binding', build: buildBinding },
    extensions: { code: 'cubin', source: 'cu.gz' },
    variants: architectures.map(({ name }) => ({ name, target: cudaTarget(name) })),
    build: async (program) => ({ binary: await buildProgram(program), source: printProgram(program).join('\n') }),
    requires: (architecture, program) => ({
      ...hostRequires(),
      architecture,
      memoryBytes: fixedBytes([program]) + leastStateBytes(program, job.opened.limits),
    }),
  });
