// The cpu part of an artifact: a program and native code for every instruction set of this machine's architecture.
import os from 'node:os';
import { buildProgram, buildRuntime } from '../../backends/cpu/build.ts';
import { hostTarget, type Isa, isas } from '../../backends/cpu/target.ts';
import type { Target } from '../../ir/target.ts';
import type { AnyTargetPart } from './format.ts';
import { hostRequires } from './host.ts';
import type { WriteJob } from './write-job.ts';
import { writeNative } from './write-native.ts';

const targetOf = (isa: Isa): Target => ({
  ...hostTarget(),
  features: [isa.name],
  vectorBytes: isa.vectorBytes,
  vectorRegisters: isa.vectorRegisters,
  tiles: isa.tiles,
});

export const writeCpu = (job: WriteJob): Promise<AnyTargetPart> =>
  writeNative(job, {
    target: 'cpu',
    runtime: { name: 'runtime', build: buildRuntime },
    extensions: { code: 'node', source: 'c.gz' },
    variants: isas
      .filter((row) => row.isKept && (row.needs.length === 0 || os.arch() === 'x64'))
      .map((isa) => ({ name: isa.name, target: targetOf(isa) })),
    build: buildProgram,
    requires: (isa) => ({ ...hostRequires(), isa }),
  });
