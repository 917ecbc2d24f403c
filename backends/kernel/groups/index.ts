// The templates for targets whose tasks are groups of threads.
export { attentionKernel } from './attention.ts';
export { foldKernel } from './fold.ts';
export { mapKernel } from './map.ts';
export { matmulKernel } from './matmul.ts';
export { matvecKernel } from './matvec.ts';
export { rowKernel } from './row.ts';
export { scatterKernel } from './scatter.ts';
export { sortKernel } from './sort.ts';
export { scanKernel, updateKernel } from './update.ts';
