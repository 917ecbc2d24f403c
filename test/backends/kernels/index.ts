// The kernel cases, by what they are about.
import { attentions } from './attention.ts';
import { products } from './products.ts';
import { ordering, reductions } from './rows.ts';
import type { KernelCase } from './scene.ts';
import { elementwise, empty, long } from './shapes.ts';
import { tiles } from './tiles.ts';

export const groups: Readonly<Record<string, readonly KernelCase[]>> = {
  'empty and single dimensions': empty,
  elementwise,
  'long rows': long,
  reductions,
  'orderings, scatters and scans': ordering,
  products,
  'products by tiles': tiles,
  attention: attentions,
};

/** The groups for a device: products by tiles are other products where there are no tiles. */
export const groupsFor = ({ hasTiles = false }: { readonly hasTiles?: boolean }): [string, readonly KernelCase[]][] =>
  Object.entries(groups).filter(([, cases]) => hasTiles || cases !== tiles);
