// Differentiates: `gradient` nodes become the backward computation, so that forward, backward and what an optimizer makes
// of them are one graph from here on. The rules are in ir/ops/vjp/, the walk is in ir/gradients.ts.
import { expandGradients } from '../ir/gradients.ts';
import type { TargetlessPass } from './pass.ts';

export const grad: TargetlessPass = { name: 'grad', run: expandGradients };
