// WebGPU as a target: the limits that every implementation offers, so that what is compiled runs everywhere; larger
// bindings and optional features where an adapter has them. The printer decides by `features` what it writes.
import type { Target } from '../../ir/target.ts';

/** Threads of a workgroup, in one dimension. */
export const groupThreads = 64;

/** The default limits of the specification. */
export const defaultLimits = { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 } as const;
export type Limits = Readonly<Record<keyof typeof defaultLimits, number>>;

/**
 * Optional features that printed code makes use of: `subgroups`, reductions over a group without going through memory
 * for every value; `shader-f16`, weights of that type as they are.
 */
export const knownFeatures = ['shader-f16', 'subgroups'] as const;
export type Feature = (typeof knownFeatures)[number];

export const isFeature = (name: string): name is Feature => (knownFeatures as readonly string[]).includes(name);

/** What is compiled for an adapter or device with these features, or for any. */
export const featuresOf = (offered: ReadonlySet<string>): Feature[] => knownFeatures.filter((f) => offered.has(f));

export interface TargetVariant {
  readonly name: string;
  readonly features: readonly Feature[];
}

const variants: readonly TargetVariant[] = [
  { name: 'f16-subgroups', features: ['shader-f16', 'subgroups'] },
  { name: 'subgroups', features: ['subgroups'] },
  { name: 'base', features: [] },
];

/** The feature sets to compile for where the adapter is not known, or those that it runs; best first. */
export const webgpuVariants = (offered?: ReadonlySet<string>): TargetVariant[] =>
  variants.filter(({ features }) => !offered || features.every((f) => offered.has(f)));

export const webgpuTarget = (features: readonly Feature[] = [], limits: Limits = defaultLimits): Target => ({
  language: 'wgsl',
  features,
  vectorBytes: 16,
  vectorLanes: 4,
  vectorRegisters: 16,
  threads: 16,
  cacheBytes: 2 ** 16,
  groupThreads,
  groupBytes: 16384,
  tiles: [],
  bindings: 8,
  bindsArena: true,
  bindingBytes: Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize),
  storeBytes: 4,
});
