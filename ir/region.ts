// Regions: a graph cut into kernels-to-be. A region computes one node (`root`) from nodes that are in memory
// (`inputs`), with everything between them inlined; its `anchors` are the nodes inside that decide its template.
import type { Graph, Node } from './graph.ts';

export type RegionKind =
  | 'map' // elementwise, views, gathers
  | 'row' // reductions and maps over one row
  | 'generic' // any reduction or contraction, as nested loops
  | 'matmul'
  | 'matvec'
  | 'attention'
  | 'update' // writes a part of a state or of a copy
  | 'scatter'
  | 'scan'
  | 'sort'; // sort and top_k

export interface Region {
  readonly kind: RegionKind;
  readonly root: Node;
  readonly anchors: readonly Node[];
  /** Materialised nodes that the region reads, in first-use order. */
  readonly inputs: readonly Node[];
  /** Nodes computed inside the region, root included. */
  readonly interior: ReadonlySet<Node>;
}

export interface RegionGraph {
  readonly graph: Graph;
  /** In execution order; the regions of one launch are independent of each other. */
  readonly launches: readonly (readonly Region[])[];
}
