// What a pass is: a named function from graph to graph. pipeline.ts lists them in order.
import type { Graph } from '../ir/graph.ts';
import type { Target } from '../ir/target.ts';

export interface Pass {
  /** What --dump-after calls it; unique in a pipeline. */
  readonly name: string;
  run(graph: Graph, target: Target): Graph;
}

/** A pass that makes the same of a graph for every target. */
export interface TargetlessPass extends Pass {
  run(graph: Graph): Graph;
}
