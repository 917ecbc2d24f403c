// One region to one kernel: picks the template, and recognises regions that were lowered before. Two regions whose
// graphs are equal up to the identity of their inputs share a kernel, so identical layers are compiled once.
import type { Expr, Kernel } from '../../ir/loop.ts';
import { attrText, isOp, type Node, typeText } from '../../ir/node.ts';
import type { Region } from '../../ir/region.ts';
import type { Target } from '../../ir/target.ts';
import { verifyKernel } from '../../ir/verify-kernel.ts';
import { KernelBuilder } from './builder.ts';
import { Emitter } from './emit.ts';
import * as groups from './groups/index.ts';
import { lanesOf } from './schedule.ts';
import { sideBySide } from './side-by-side.ts';
import { attentionKernel } from './templates/attention.ts';
import { mapKernel } from './templates/map.ts';
import { matmulKernel } from './templates/matmul.ts';
import { matvecKernel } from './templates/matvec.ts';
import { rowKernel } from './templates/row.ts';
import { sortKernel } from './templates/sort.ts';
import { scanKernel, scatterKernel, updateKernel } from './templates/update.ts';

/** A kernel and the nodes whose memory its buffers are, in order. */
export interface Lowered {
  readonly kernel: number;
  readonly buffers: readonly Node[];
}

export class KernelTable {
  readonly kernels: Kernel[] = [];
  private readonly known = new Map<string, { kernel: number; buffers: readonly number[] }>();

  constructor(private readonly target: Target) {}

  /** The number of the kernel that computes what those of these numbers do; see sideBySide. */
  join(numbers: readonly number[], places: readonly number[]): number {
    const key = `side by side: ${numbers.join()} at ${places.join()}`;
    const known = this.known.get(key);
    if (known) return known.kernel;
    const kernel = this.kernels.length;
    const parts = numbers.map((n) => this.kernels[n]);
    this.add(sideBySide(`${parts[0].name.split('_')[0]}_${kernel}`, parts, places));
    this.known.set(key, { kernel, buffers: [] });
    return kernel;
  }

  private add(kernel: Kernel): void {
    verifyKernel(kernel, this.target);
    this.kernels.push(kernel);
  }

  lower(region: Region): Lowered {
    const { key, nodes } = signature(region);
    let found = this.known.get(key);
    if (!found) {
      const builder = new KernelBuilder();
      const emitter = new Emitter(region, builder);
      const grid = template(emitter, this.target);
      const kernel = this.kernels.length;
      this.add(builder.finish(`${region.kind}_${kernel}`, grid, note(region)));
      found = { kernel, buffers: builder.nodes.map((n) => nodes.indexOf(n)) };
      this.known.set(key, found);
    }
    return { kernel: found.kernel, buffers: found.buffers.map((i) => nodes[i]) };
  }
}

/** Emits the region's kernel; returns its grid. Tasks are threads or groups of threads, as the target has them. */
function template(emitter: Emitter, target: Target): Expr {
  const lanes = lanesOf(target);
  const isThread = target.groupThreads === 1;
  const { kind } = emitter.region;
  switch (kind) {
    case 'map':
      if (isThread) return mapKernel(emitter, lanes);
      return groups.foldKernel(emitter, target) ?? groups.mapKernel(emitter, target);
    case 'row':
      return isThread ? rowKernel(emitter, lanes) : groups.rowKernel(emitter, target);
    case 'matmul':
      return isThread ? matmulKernel(emitter, target) : groups.matmulKernel(emitter, target);
    case 'matvec':
      return isThread ? matvecKernel(emitter, target) : groups.matvecKernel(emitter, target);
    case 'attention':
      return isThread ? attentionKernel(emitter, target) : groups.attentionKernel(emitter, target);
    case 'update':
      return isThread ? updateKernel(emitter, lanes) : groups.updateKernel(emitter, target);
    case 'scatter':
      return isThread ? scatterKernel(emitter, lanes) : groups.scatterKernel(emitter, target);
    case 'scan':
      return isThread ? scanKernel(emitter, lanes) : groups.scanKernel(emitter, target);
    case 'sort':
      return isThread ? sortKernel(emitter) : groups.sortKernel(emitter, target);
    default:
      return kind satisfies never;
  }
}

/** Text that is equal for regions that may share a kernel, and the region's nodes in the order of that text. */
function signature(region: Region): { key: string; nodes: Node[] } {
  const nodes: Node[] = [];
  const place = new Map<Node, number>();
  const parts: string[] = [];
  const visit = (n: Node): number => {
    const known = place.get(n);
    if (known !== undefined) return known;
    const isLeaf = n.op === 'const' || n.op === 'iota' || n.op === 'dim';
    const inside = region.interior.has(n) || isLeaf;
    const args = inside ? n.args.map(visit) : [];
    const at = nodes.length;
    place.set(n, at);
    nodes.push(n);
    parts.push(inside ? `${n.op}(${args.join()})${attrText(n.attrs)}:${typeText(n.type)}` : `memory:${memoryKind(n)}`);
    return at;
  };
  visit(region.root);
  const anchors = region.anchors.map((a) => place.get(a)).join();
  const bounds = new Map<string, string>();
  for (const n of nodes) {
    for (const d of n.type.shape) for (const v of d.vars.values()) bounds.set(v.name, `${v.min}:${v.max}`);
  }
  return { key: [region.kind, anchors, [...bounds].join(), ...parts].join('\n'), nodes };
}

const memoryKind = (n: Node): string => `${isOp(n, 'param') ? n.attrs.kind : ''}${typeText(n.type)}`;

/** What was fused, for people who read generated code. */
function note(region: Region): string {
  const ops = [...region.interior].filter((n) => n.args.length > 0).map((n) => n.op);
  return `${region.kind}: ${ops.reverse().join(' ')} -> ${typeText(region.root.type)}`;
}
